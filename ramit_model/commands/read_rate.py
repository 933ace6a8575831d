"""Measures how many training patches a second one process reads: `python -m ramit_model.commands.read_rate`."""

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ramit_model.commands.parser import EXIT_INPUT_ERROR, EXIT_INTERRUPTED, Parser, add_overrides
from ramit_model.system.environment import write_any_text
from ramit_model.system.errors import InputError
from ramit_model.system.memory import keep_freed_memory

PROG = "python -m ramit_model.commands.read_rate"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CHUNK = 1 << 24
"""Bytes read at a time."""


class Variant:
    """A training set, and the patches that a training of one process takes of it, again and again.

    Args:
        path: Option file of a training.
        forced: Options to replace, `key:subkey=value`.

    Raises:
        InputError: The options or the data cannot be used.
    """

    def __init__(self, path: str, forced: Sequence[str]) -> None:
        from ramit_model.config.options import load_options
        from ramit_model.data.patches import PATCH_DATASETS
        from ramit_model.training.sampler import training_set

        options = load_options(path, is_train=True, forced=forced)
        block = options["datasets"]["train"]
        if block["type"] not in PATCH_DATASETS:
            raise InputError(
                f"{path}: datasets.train.type: {block['type']} is not measured; use {' or '.join(PATCH_DATASETS)}"
            )
        # What BasicSR's parser adds.
        block |= {"phase": "train", "scale": options["scale"]}
        options |= {"manual_seed": options.get("manual_seed") or 0, "rank": 0, "world_size": 1}
        self.dataset, self.sampler = training_set(options)
        self.requests = self._requests()

    def _requests(self) -> Iterator[Any]:
        while True:
            yield from chain.from_iterable(self.sampler)

    def read_files(self) -> int:
        """Read every file of the data set once; returns bytes."""
        roots = (Path(root).expanduser() for root in self.dataset.reader.roots.values())
        return sum(_read_file(file) for root in roots for file in root.rglob("*") if file.is_file())

    def rate(self, seconds: float) -> float:
        """Read patches, for `seconds` or one patch at least; returns patches a second."""
        count, started = 0, time.perf_counter()
        while True:
            self.dataset[next(self.requests)]
            count, elapsed = count + 1, time.perf_counter() - started
            if elapsed >= seconds:
                return count / elapsed


def _read_file(path: Path) -> int:
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            size += len(chunk)
    return size


def build_parser() -> argparse.ArgumentParser:
    """Parser of this command."""
    parser = Parser(
        prog=PROG,
        description="Measure how many training patches a second one process reads: one thread, no workers, no network.",
        epilog="Leave out what is not there, for example with --force_yml datasets:val=none.",
        allow_abbrev=False,
    )
    parser.add_argument("-opt", required=True, metavar="FILE", help="option file of a training (YAML)")
    add_overrides(parser, "--force_yml", "replace single options")
    add_overrides(parser, "--beside", "measure a second variant too, with these replaced on top")
    parser.add_argument("--seconds", type=float, default=5, metavar="S", help="length of a round (default: 5)")
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="rounds of each variant (default: 9)")
    return parser


def measure(args: argparse.Namespace) -> None:
    """Measure with the given arguments, and print the rates."""
    import cv2
    import torch

    if not (0 < args.seconds < math.inf and args.rounds > 0):
        raise InputError("--seconds and --rounds must be above 0")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    variants = {"as given": Variant(args.opt, args.force_yml)}
    if args.beside:
        variants[" ".join(args.beside)] = Variant(args.opt, [*args.force_yml, *args.beside])
    for name, variant in variants.items():
        size = variant.read_files()
        print(f"{name}: {len(variant.dataset)} entries; all {size / 1e6:,.1f} MB read once, so the page cache is warm")
        variant.rate(0)  # opens the LMDBs
    rounds = [_round(variants, reverse=bool(i % 2), seconds=args.seconds) for i in range(args.rounds)]
    for name in variants:
        rates = [rates[name] for rates in rounds]
        print(f"{name}: {_summary(rates, '.1f')} patches/s, {args.rounds} rounds of {args.seconds:g} s, one core")
    if args.beside:
        first, second = variants
        print(
            f"ratio, second to first: {_summary([rates[second] / rates[first] for rates in rounds], '.3f')}, in pairs"
        )


def _round(variants: dict[str, Variant], *, reverse: bool, seconds: float) -> dict[str, float]:
    """Rate of each variant; every other round is in reverse order, so that neither gains by its place."""
    names = list(variants)[:: -1 if reverse else 1]
    return {name: variants[name].rate(seconds) for name in names}


def _summary(values: Sequence[float], form: str) -> str:
    return f"median {statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program's name; by default those of the process.

    Returns:
        Exit code: 0, 2 for bad input (one line on stderr), 130 after Ctrl-C.
    """
    write_any_text()
    try:
        measure(build_parser().parse_args(argv))
    except InputError as error:
        print(f"{PROG}: {error.line}", file=sys.stderr)
        return EXIT_INPUT_ERROR
    except KeyboardInterrupt:
        print(f"\n{PROG}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    # Libraries read these when they are imported.
    os.environ.update(dict.fromkeys(THREADS, "1"), OPENCV_LOG_LEVEL="SILENT")
    keep_freed_memory()  # as a training does
    raise SystemExit(main())
