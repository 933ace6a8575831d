"""Jobs of `measure_speed.py`: a network beside its literal reference, measured in separate processes."""

import math
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from literal import LiteralRAMiT
from torch.utils.data import DataLoader

from ramit_model.basicsr_bridge import ARCH_REGISTRY, build_dataset, build_network
from ramit_model.benchmark.measure.cost import Runner, measured_cost, peak_memory, take_turns
from ramit_model.benchmark.measure.counting import count
from ramit_model.benchmark.measure.isolation import KilledError, be_quiet, isolated, prepare_process
from ramit_model.benchmark.results import OUT_OF_MEMORY, Case, NetworkCost
from ramit_model.benchmark.statistics import median
from ramit_model.inference.evaluation import measure
from ramit_model.inference.padding import run_padded
from ramit_model.inference.precision import PRECISIONS, autocast, autocast_type
from ramit_model.inference.weights import check_fit, read_weights
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
