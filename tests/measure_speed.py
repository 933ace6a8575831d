"""Measures the speed of the networks beside a literal reading of their definition: `python tests/measure_speed.py`.

Reference and network run in turn, in one process and with the same weights, so a drift of the machine affects both.
Memory is measured in separate processes. See `--help` for what can be chosen.
"""

import json
import os
import re
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

# Here and not in main(), because the measuring processes import this file, too.
TESTS = Path(__file__).resolve().parent
# A folder of the tests is called ramit_model, too.
sys.path[:] = [str(TESTS / "support"), *(path for path in sys.path if Path(path).resolve() != TESTS)]

import torch
from speed_jobs import DEVICES, FORMS, NETWORKS, SETTINGS, WARMUP, jobs_of, measure_job, published_quality
from speed_tables import report
from tqdm import tqdm

from ramit_model.benchmark.measure.isolation import be_quiet, isolated
from ramit_model.benchmark.measure.machine import machine, versions
from ramit_model.commands.parser import EXIT_INPUT_ERROR, EXIT_INTERRUPTED, Parser, at_least
from ramit_model.system.errors import InputError, one_line
from ramit_model.system.files import write_atomically


def numbers(form: str) -> Callable[[str], tuple[int, ...]]:
    """The type of an argument such as 192x192, as many numbers from 1 up as `form` has."""

    def convert(text: str) -> tuple[int, ...]:
        if not re.fullmatch("x".join([r"[1-9]\d*"] * len(form.split("x"))), text, re.ASCII):
            raise ArgumentTypeError(f"{text!r} is not {form}, whole numbers from 1 up")
        return tuple(map(int, text.split("x")))

    return convert


def build_parser() -> Parser:
    """The parser of this command."""
    parser = Parser(prog="measure_speed.py", description=__doc__.splitlines()[0])
    listed: dict[str, Any] = {"nargs": "+", "metavar": "NAME"}
    parser.add_argument("--networks", choices=NETWORKS, default=list(NETWORKS), **listed, help=", ".join(NETWORKS))
    parser.add_argument(
        "--inputs", nargs="*", type=numbers("WIDTHxHEIGHT"), metavar="WIDTHxHEIGHT",
        help="of a forward pass of one image (default: 192x192 and 320x180; on a GPU 640x360; nothing: none)",
    )  # fmt: skip
    train = parser.add_mutually_exclusive_group()
    train.add_argument(
        "--train", type=numbers("WIDTHxHEIGHTxBATCH"), metavar="WIDTHxHEIGHTxBATCH",
        help="patches of a training step (default: 64x64x4; on a GPU 64x64x32)",
    )  # fmt: skip
    train.add_argument("--no-train", action="store_true", help="no training steps")
    parser.add_argument(
        "--forms", choices=FORMS, **listed, help=f"{', '.join(FORMS)} (default: all that the device has)"
    )
    parser.add_argument(
        "--setting", choices=[*SETTINGS, "both"], default="both",
        help="whether processes keep freed memory, as the basicsr command makes them, or are plain (default: both)",
    )  # fmt: skip
    parser.add_argument("--pairs", type=at_least(1), default=9, metavar="N", help="runs that count (default: 9)")
    parser.add_argument("--threads", type=at_least(1), metavar="N", help="of the CPU (default: torch's)")
    parser.add_argument("--device", choices=DEVICES, help="default: cuda where there is one")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file for all numbers")
    parser.add_argument("--quality", action="store_true", help="also PSNR with published weights; needs RAMIT_ASSETS")
    return parser


def parse(argv: Sequence[str] | None = None) -> Namespace:
    """Read the arguments and fill in what depends on the device."""
    parser = build_parser()
    args = parser.parse_args(argv)
    has_gpu = torch.cuda.is_available()
    args.device = args.device or ("cuda" if has_gpu else "cpu")
    if args.device == "cuda" and not has_gpu:
        parser.error("argument --device: torch finds no GPU here; choose cpu")
    defaults = DEVICES[args.device]
    for form in args.forms or ():
        if form not in defaults["forms"]:
            parser.error(f"argument --forms: {form} needs a GPU; on a CPU choose from {', '.join(defaults['forms'])}")
    for name in ("forms", "inputs", "train"):
        if getattr(args, name) is None:
            setattr(args, name, defaults[name])
    args.train = None if args.no_train else args.train
    # Twice the same would be measured twice.
    for name in ("networks", "forms", "inputs"):
        setattr(args, name, list(dict.fromkeys(getattr(args, name))))
    if args.quality and not Path(os.environ.get("RAMIT_ASSETS") or "?", "weights", "RAMiT-1_X2.pth").is_file():
        parser.error("argument --quality: RAMIT_ASSETS must name a folder with weights/RAMiT-1_X2.pth and images/Set5")
    if not (args.inputs or args.train or args.quality):
        parser.error("nothing to measure; give --inputs, --train or --quality")
    if args.out and (args.out.is_dir() or not args.out.parent.is_dir()):
        parser.error(f"argument --out: {args.out} is not a file in an existing folder")
    return args


def run(args: Namespace) -> None:
    """Measure everything and print it; keep every number as soon as it is there."""
    if args.threads:
        os.environ["OMP_NUM_THREADS"] = str(args.threads)  # for the processes to come
        torch.set_num_threads(args.threads)
    be_quiet()
    settings = list(SETTINGS) if args.setting == "both" else [args.setting]
    jobs = jobs_of(args)
    entries: list[dict[str, Any]] = []
    found: dict[str, Any] = {
        "machine": machine(), "versions": versions(), "device": args.device, "pairs": args.pairs, "warmup": WARMUP,
        "measurements": entries, "quality": None,
    }  # fmt: skip
    total = len(settings) * len(jobs) * (1 + len(args.forms) + args.pairs)
    with tqdm(total=total, unit="run", disable=None) as bar:
        for setting in settings:
            for job in jobs:
                entries.append(measure_job(job, setting, args.pairs, bar))
                save(found, args.out)
    if args.quality:
        found["quality"] = next(isolated(published_quality, os.environ["RAMIT_ASSETS"], args.device))
        save(found, args.out)
    print("\n\n".join(report(found, settings, args.forms)))


def save(found: Mapping[str, Any], path: Path | None) -> None:
    """Write everything, if a file is given."""
    if path:
        write_atomically(json.dumps(found, indent=1).encode(), path)


def main() -> int:
    """Run the command; its exit code is 2 for bad input, 130 after Ctrl-C."""
    args = parse()
    try:
        run(args)
    except (InputError, OSError) as error:
        print(f"measure_speed.py: {one_line(error)}", file=sys.stderr)
        return EXIT_INPUT_ERROR
    except KeyboardInterrupt:
        with suppress(OSError):
            print("\nmeasure_speed.py: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
