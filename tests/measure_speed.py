"""Measures the speed of the networks beside a literal reading of their definition: `python tests/measure_speed.py`.

Reference and network run in turn, in one process and with the same weights, so a drift of the machine affects both.
Memory is measured in separate processes. See `--help` for what can be chosen.
"""

import json
import math
import os
import re
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

# Here and not in main(), because the measuring processes import this file, too.
TESTS = Path(__file__).resolve().parent
# A folder of the tests is called ramit_model, too.
sys.path[:] = [str(TESTS / "support"), *(path for path in sys.path if Path(path).resolve() != TESTS)]

import ramit_model

ramit_model.register()  # mends BasicSR for the imports below

import torch
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.utils.registry import ARCH_REGISTRY
from literal import LiteralRAMiT
from tabulate import tabulate
from torch.utils.data import DataLoader
from tqdm import tqdm

from ramit_model.benchmark.measure.cost import Runner, measured_cost, probe, take_turns
from ramit_model.benchmark.measure.counting import count
from ramit_model.benchmark.measure.isolation import KilledError, be_quiet, isolated, prepare_process
from ramit_model.benchmark.measure.machine import machine, versions
from ramit_model.benchmark.report.numbers import significant
from ramit_model.benchmark.report.table import MISSING
from ramit_model.benchmark.results import OUT_OF_MEMORY, Case, NetworkCost
from ramit_model.benchmark.statistics import median
from ramit_model.commands.parser import EXIT_INPUT_ERROR, EXIT_INTERRUPTED, Parser, at_least
from ramit_model.inference.evaluation import measure
from ramit_model.inference.padding import run_padded
from ramit_model.inference.precision import PRECISIONS, autocast, autocast_type
from ramit_model.inference.weights import check_fit, read_weights
from ramit_model.system.errors import InputError, one_line
from ramit_model.system.files import write_atomically
from ramit_model.system.memory import is_out_of_memory

if "LiteralRAMiT" not in ARCH_REGISTRY:
    ARCH_REGISTRY.register(LiteralRAMiT)

NETWORKS: dict[str, dict[str, Any]] = {
    "RAMiT-1": {"variant": "RAMiT-1", "task": "SR", "scale": 2},
    "RAMiT-slimSR": {"variant": "RAMiT-slimSR", "task": "SR", "scale": 2},
    "RAMiT-CDN": {"variant": "RAMiT", "task": "CDN", "scale": 1},
}
"""Name in `--networks` -> arguments of the network and of its reference."""

FORMS = {
    f"{precision}{'-compiled' if compiled else ''}": (precision, compiled)
    for precision in PRECISIONS
    for compiled in (False, True)
}
"""Name in `--forms` -> precision, whether torch.compile is used."""

DEVICES: dict[str, dict[str, Any]] = {
    "cpu": {
        "forms": [form for form, (precision, _) in FORMS.items() if precision in ("float32", "bfloat16")],
        "inputs": [(192, 192), (320, 180)],
        "train": (64, 64, 4),
    },
    "cuda": {"forms": list(FORMS), "inputs": [(640, 360)], "train": (64, 64, 32)},
}
"""Defaults of each device."""

SETTINGS = {"plain": False, "basicsr": True}
"""Setting -> whether freed memory is kept: a process as Python starts it, or as `basicsr` does."""

REFERENCE = "reference"
WARMUP = 2
MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
COPIED = 1 << 30
"""Bytes; far more than caches hold."""

TRAIN_PASSES = 3
"""Cost of a training step in forward passes: the backward pass has two matrix products for each one."""

NOTES = (
    "Time: median of {pairs} runs, reference and forms in turn. Ratio: the time of the reference over that of the "
    "form, run by run, median and quartiles; above 1 is faster. The reference is float32, not compiled.",
    "GFLOP/s: two for each of the network's Mult-Adds at this input (padded as the network pads it) over the time, "
    "also where a form computes fewer or more; a training step counts as three forward passes. In brackets: the share "
    "of what a product of two {side}x{side} matrices reaches in the same process, in the same precision or in float32, "
    "whichever is faster.",
    "Peak memory: {memory}, beyond what the process and the weights hold. In brackets: that of the reference over that "
    "of the form.",
)


# Jobs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A network at an input, beside its reference.

    Attributes:
        network: Name in `NETWORKS`.
        case: Case of the reference.
        forms: Form -> case of the network.
    """

    network: str
    case: Case
    forms: Mapping[str, Case]

    @property
    def scale(self) -> int:
        """Output size over input size."""
        return int(NETWORKS[self.network]["scale"])

    @property
    def input(self) -> str:
        """`forward 192x192` or `train 4 x 64x64`."""
        return self.case.words.partition(",")[0]

    def cases(self) -> dict[str, tuple[Case, dict[str, Any]]]:
        """Name -> case and options of the network; the reference first."""
        options = NETWORKS[self.network]
        ours = {form: (case, {"type": "RAMiT", **options}) for form, case in self.forms.items()}
        return {REFERENCE: (self.case, {"type": "LiteralRAMiT", **options}), **ours}


def jobs_of(args: Namespace) -> list[Job]:
    """All jobs that the arguments ask for."""
    sizes = [("forward", width, height, 1) for width, height in args.inputs]
    sizes += [("train", *args.train)] if args.train else []
    jobs = []
    for network in args.networks:
        for mode, width, height, batch in sizes:
            case = partial(Case, mode, args.device, memory_format="contiguous", width=width, height=height, batch=batch)
            forms = {form: case(precision=FORMS[form][0], compiled=FORMS[form][1]) for form in args.forms}
            jobs.append(Job(network, case(precision="float32", compiled=False), forms))
    return jobs


def mult_adds(job: Job) -> float:
    """Mult-Adds of a run, over all images, with those of the backward pass if there is one."""
    network = build_network(job.cases()[REFERENCE][1])
    output = (job.case.width * job.scale, job.case.height * job.scale)
    counted = count(network, channels=network.in_channels, scale=job.scale, unit=network.size_unit, output=output)
    return counted.mult_adds * job.case.batch * (TRAIN_PASSES if job.case.mode == "train" else 1)


# Measuring ------------------------------------------------------------------------------------------------------------


def measure_job(job: Job, setting: str, pairs: int, bar: Any) -> dict[str, Any]:
    """Measure memory and time of the reference and of all forms.

    Returns:
        Everything about this job, ready for JSON; see `entry`.
    """
    bar.set_description(f"{setting}, {job.network}, {job.input}")
    memory = {}
    for name, (case, network_g) in job.cases().items():
        memory[name] = peak_memory(case, network_g, job.scale, keep_memory=SETTINGS[setting])
        bar.update()
    working = [name for name, found in memory.items() if "failure" not in found]
    rounds = []
    try:
        for seconds in isolated(time_job, job, working, pairs, keep_memory=SETTINGS[setting]) if working else ():
            rounds.append(seconds)
            bar.update()
    except Exception as error:
        if not isinstance(error, KilledError) and not is_out_of_memory(error):
            raise
        rounds = []  # each had enough memory by itself
        for name in working:
            memory[name] = {"failure": f"{OUT_OF_MEMORY} with all forms loaded"}
    times = {name: [seconds[name] for seconds in rounds] for name in (rounds[0] if rounds else ())}
    return entry(job, setting, memory, times)


def peak_memory(case: Case, network_g: dict[str, Any], scale: int, *, keep_memory: bool) -> dict[str, Any]:
    """Peak memory of a network, by itself in a process: `peak_memory`, or `failure`."""
    try:
        return next(isolated(probe, case, network_g, scale, keep_memory=keep_memory))
    except KilledError:
        return {"failure": OUT_OF_MEMORY}


def entry(
    job: Job, setting: str, memory: Mapping[str, dict[str, Any]], times: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Results of a job.

    Args:
        job: Measured job.
        setting: Key of `SETTINGS`.
        memory: Reference and forms -> value of `probe`.
        times: Reference and forms that worked, matrix products and copies -> seconds of each run.
    """
    adds = mult_adds(job)
    rates = {
        name.removeprefix("matmul "): 2 * MATRIX_SIDE[job.case.device] ** 3 / median(seconds) / 1e9
        for name, seconds in times.items()
        if name.startswith("matmul ")
    }
    cases = job.cases()
    costs = {name: _cost(name, case, memory, times, 2 * adds, rates) for name, (case, _) in cases.items()}
    reference = costs.pop(REFERENCE)
    return {
        "setting": setting,
        "network": job.network,
        "input": job.input,
        "case": asdict(job.case),
        "mult_adds": adds,
        "matmul_gflops": rates,
        "copy_gb_per_second": 2 * COPIED / median(times["copy"]) / 1e9 if "copy" in times else None,
        "others": {name: seconds for name, seconds in times.items() if name not in cases},
        REFERENCE: reference,
        "forms": costs,
    }


def _cost(
    name: str,
    case: Case,
    memory: Mapping[str, dict[str, Any]],
    times: Mapping[str, Sequence[float]],
    flops: float,
    rates: Mapping[str, float],
) -> dict[str, Any]:
    """`NetworkCost` as a dictionary, with `gflops`, `matmul_share` and `memory_ratio`."""
    if name not in times:
        return asdict(NetworkCost(failure=memory[name].get("failure", "not timed")))
    seconds, peak = times[name], memory[name]["peak_memory"]
    reference_peak = memory[REFERENCE].get("peak_memory")
    gflops = flops / median(seconds) / 1e9
    return {
        **asdict(measured_cost(seconds, times.get(REFERENCE), case, peak)),
        "gflops": gflops,
        # Half precision is slower than float32 on some processors, and a form is free to compute in either.
        "matmul_share": gflops
        / max(rates[precision] for precision in (case.precision, "float32") if precision in rates),
        "memory_ratio": reference_peak / peak if reference_peak and peak else None,
    }


# In a separate process


def time_job(job: Job, names: Sequence[str], pairs: int, *, keep_memory: bool) -> Iterator[dict[str, float]]:
    """Run reference, forms and matrix products in turn.

    Args:
        job: Job to run.
        names: Names of the reference and the forms that work.
        pairs: Runs that count.
        keep_memory: Whether the process keeps freed memory, as in `probe`.

    Yields:
        Name -> seconds, for each run; also for `matmul float32`, ... and, on a GPU, `copy`.
    """
    (prepare_process if keep_memory else be_quiet)()
    cases = job.cases()
    networks = {name: Runner(*cases[name], job.scale) for name in names}
    weights = build_network(cases[REFERENCE][1]).state_dict()
    for runner in networks.values():
        runner.network.load_state_dict(weights)
    runners: dict[str, Callable[[], None]] = {**networks}
    for precision in dict.fromkeys(runner.case.precision for runner in networks.values()):
        runners[f"matmul {precision}"] = MatrixProduct(precision, job.case.device)
    if job.case.device == "cuda":
        runners["copy"] = Copy()
    yield from take_turns(runners, range(pairs), WARMUP)


class MatrixProduct:
    """Product of two square matrices: the upper limit for a network."""

    def __init__(self, precision: str, device: str) -> None:
        side, kind = MATRIX_SIDE[device], autocast_type(precision) or torch.float32
        self.tf32 = precision == "tf32"
        self.one, self.other, self.product = (torch.rand(side, side, device=device).to(kind) for _ in range(3))

    def __call__(self) -> None:
        torch.backends.cuda.matmul.allow_tf32 = self.tf32
        torch.mm(self.one, self.other, out=self.product)
        if self.product.is_cuda:
            torch.cuda.synchronize()


class Copy:
    """A copy within the memory of a GPU, which reads and writes every byte once."""

    def __init__(self) -> None:
        self.source = torch.zeros(COPIED, dtype=torch.uint8, device="cuda")
        self.target = torch.empty_like(self.source)

    def __call__(self) -> None:
        self.target.copy_(self.source)
        torch.cuda.synchronize()


def published_quality(assets: str, device: str) -> Iterator[dict[str, Any]]:
    """Measure the quality of RAMiT-1 x2 with its published weights on Set5.

    Args:
        assets: Folder with `weights/RAMiT-1_X2.pth` and `images/Set5`.
        device: `cpu` or `cuda`.

    Yields:
        `psnr`: precision -> dB, mean over the images; `psnr_difference`: bfloat16 less float32;
        `largest_difference` of a pixel (0..1) from the reference, both in float32.
    """
    prepare_process()
    from ramit_model.training.restoration_model import RestorationModel

    scale, options = int(NETWORKS["RAMiT-1"]["scale"]), NETWORKS["RAMiT-1"]
    weights, images = Path(assets, "weights", "RAMiT-1_X2.pth"), Path(assets, "images", "Set5")
    reference = LiteralRAMiT(**options).to(device).eval()
    check_fit(reference, tensors := read_weights(weights), weights)
    reference.load_state_dict(tensors)
    path = {"pretrain_network_g": str(weights), "strict_load_g": True, "param_key_g": "params"}
    model = RestorationModel(
        {"name": "speed", "is_train": False, "dist": False, "num_gpu": int(device == "cuda"), "scale": scale,
         "network_g": {"type": "RAMiT", **options}, "path": path}
    )  # fmt: skip
    dataset = build_dataset(
        {"name": "Set5", "type": "PairedRestorationDataset", "phase": "test", "scale": scale,
         "io_backend": {"type": "disk"}, "filename_tmpl": f"{{}}x{scale}",
         "dataroot_gt": str(images / "HR"), "dataroot_lq": str(images / "LR_bicubic" / f"X{scale}")}
    )  # fmt: skip
    metrics = {"psnr": {"type": "calculate_psnr", "crop_border": scale, "test_y_channel": True}}
    psnr: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    differences = []
    for data in DataLoader(dataset):
        for precision, values in psnr.items():
            with autocast(device, precision):
                values.append(measure(model.restore, data, metrics).metrics["psnr"])
        with torch.inference_mode():
            expected = run_padded(reference, data["lq"].to(device), reference.size_unit, scale)
        differences.append(float((model.restore(data["lq"]).to(device) - expected).abs().max()))
    means = {precision: math.fsum(values) / len(values) for precision, values in psnr.items()}
    yield {
        "psnr": means,
        "psnr_difference": means["bfloat16"] - means["float32"],
        "largest_difference": max(differences),
        "images": len(differences),
    }


# Showing --------------------------------------------------------------------------------------------------------------


def table(entries: Sequence[dict[str, Any]], forms: Sequence[str]) -> str:
    """Jobs below each other as a Markdown table, the forms side by side."""
    headers = ["Network", "Input", "Mult-Adds, G", "reference, ms", "GFLOP/s", "peak, MB"]
    for form in forms:
        headers += [f"{form.replace('-', ' ')}, ms", "ratio", "GFLOP/s", "peak, MB"]
    rows = []
    for found in entries:
        options = NETWORKS[found["network"]]
        name = f"{options['variant']} {'x2' if options['task'] == 'SR' else options['task']}"
        row = [name, found["input"], significant(found["mult_adds"] / 1e9)]
        row += _cells(found[REFERENCE], is_reference=True)
        for form in forms:
            row += _cells(found["forms"][form], is_reference=False)
        rows.append(row)
    align = ["left"] * 2 + ["right"] * (len(headers) - 2)
    return tabulate(rows, headers, tablefmt="pipe", colalign=align, disable_numparse=True)


def _cells(cost: dict[str, Any], *, is_reference: bool) -> list[str]:
    if cost["failure"] is not None:
        return [cost["failure"], *[MISSING] * (2 if is_reference else 3)]
    ratio = MISSING
    if cost["ratio"] is not None:
        ratio = "{} ({} to {})".format(*(f"{value:.2f}" for value in (cost["ratio"], *cost["ratio_spread"])))
    peak = MISSING if cost["peak_memory"] is None else significant(cost["peak_memory"] / 1e6)
    if cost["memory_ratio"] is not None and not is_reference:
        peak += f" ({cost['memory_ratio']:.2f})"
    speed = f"{significant(cost['gflops'])} ({cost['matmul_share']:.0%})"
    return [significant(cost["median"] * 1e3), *([] if is_reference else [ratio]), speed, peak]


def limits(entries: Sequence[dict[str, Any]], device: str) -> str:
    """Rates of matrix products and copies on this machine, in a line."""
    rates: dict[str, list[float]] = {}
    for found in entries:
        for precision, rate in found["matmul_gflops"].items():
            rates.setdefault(f"{precision}, GFLOP/s", []).append(rate)
        if bandwidth := found["copy_gb_per_second"]:
            rates.setdefault(f"copy of {COPIED >> 30} GiB, GB/s read and written", []).append(bandwidth)
    spans = [f"{name} {significant(min(values))} to {significant(max(values))}" for name, values in rates.items()]
    reached = "; ".join(spans) or "not measured"
    return f"This machine: products of {MATRIX_SIDE[device]}x{MATRIX_SIDE[device]} matrices: {reached}."


def heading(found: Mapping[str, Any]) -> str:
    """Machine and versions, in a line."""
    parts = [f"{name} {value}" for name, value in found["machine"].items() if value is not None]
    return "; ".join([", ".join(parts), ", ".join(f"{name} {value}" for name, value in found["versions"].items())])


def quality_text(quality: Mapping[str, Any]) -> str:
    """The quality with published weights, in a line."""
    psnr = quality["psnr"]
    return (
        f"RAMiT-1 x2, published weights, Set5 ({quality['images']} images): PSNR {psnr['float32']:.4f} dB in float32, "
        f"{psnr['bfloat16']:.4f} dB in bfloat16 ({quality['psnr_difference']:+.4f} dB); largest difference of a pixel "
        f"from the reference, float32, range 0..1: {quality['largest_difference']:.2e}."
    )


# The command ----------------------------------------------------------------------------------------------------------


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


def report(found: Mapping[str, Any], settings: Sequence[str], forms: Sequence[str]) -> Iterator[str]:
    """Everything as paragraphs of Markdown."""
    yield heading(found)
    device = found["device"]
    if found["measurements"]:
        for setting in settings:
            keeps = "freed memory is kept" if SETTINGS[setting] else "a Python process as it is"
            entries = [entry_ for entry_ in found["measurements"] if entry_["setting"] == setting]
            yield f"**{setting}** ({keeps})"
            yield table(entries, forms)
            yield limits(entries, device)
        memory = "resident memory of a separate process" if device == "cpu" else "allocated by torch"
        notes = [note.format(pairs=found["pairs"], side=MATRIX_SIDE[device], memory=memory) for note in NOTES]
        yield "\n".join(f"- {note}" for note in notes)
    if found["quality"]:
        yield quality_text(found["quality"])


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
