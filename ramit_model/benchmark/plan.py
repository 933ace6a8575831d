"""Plan of a benchmark: its option file, checked before anything runs."""

import importlib.util
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ramit_model
from ramit_model.benchmark.networks import Network, leave_out_missing, read_network
from ramit_model.benchmark.results import PYTORCH, Case
from ramit_model.benchmark.schema import BLOCKS, BenchmarkOptions, BenchmarkVal, Cost, Strip
from ramit_model.config.checks import (
    check_compiler,
    check_dataset,
    check_device,
    check_name,
    check_set_names,
)
from ramit_model.config.metrics import check_metrics
from ramit_model.config.option_file import Options
from ramit_model.config.options import expand_sigma_sets, read_options
from ramit_model.config.trials import try_metrics
from ramit_model.config.validation import check_schema, suggest
from ramit_model.system.errors import InputError

BICUBIC, INPUT = "bicubic", "input"
"""Names of the baselines without a network: the LQ image enlarged as MATLAB does it, or as it is."""

EXPORTED = ("forward", "cpu", "float32", "contiguous", False)
"""Mode, device, precision, memory format and compilation of cases that runtimes other than PyTorch are timed in."""

PARTS = ("quality", "cost")
"""Values of `--only` besides networks and data sets."""


@dataclass(frozen=True)
class StripPlan:
    """A comparison strip to draw.

    Attributes:
        dataset: Image set.
        image: Name of the image; None for the first one.
        crop: Left, top, width, height in GT pixels; None for the window with most detail.
        size: Side of that window, pixels.
    """

    dataset: str
    image: str | None
    crop: tuple[int, int, int, int] | None
    size: int


@dataclass(frozen=True)
class Plan:
    """Everything to measure.

    Attributes:
        name: Name of the benchmark.
        option_file: Path of the option file.
        options: Content of the option file, with the overrides of the command line.
        scale: Output size over input size.
        num_gpu: Number of GPUs that restore images, 0 or 1; 0 for the CPU.
        baseline: Network that times are compared with.
        networks: Networks, at least one.
        datasets: Option blocks of the image sets, as in a test.
        metrics: Metric -> block.
        tile: Side of the tiles for images that do not fit into memory, LQ pixels; None for no tiles.
        cases: Cases to time.
        runs: Runs of each case.
        warmup: Runs before them that do not count.
        strips: Strips to draw.
        limit: Largest number of images of a set; None for all.
        missing: Missing files and folders that the option file names, one line each.
    """

    name: str
    option_file: str
    options: Options
    scale: int
    num_gpu: int
    baseline: str
    networks: Sequence[Network]
    datasets: Sequence[Options]
    metrics: dict[str, Options]
    tile: int | None
    cases: Sequence[Case]
    runs: int
    warmup: int
    strips: Sequence[StripPlan]
    limit: int | None
    missing: Sequence[str]


def reference_name(scale: int) -> str:
    """Name of the baseline without a network: bicubic, or the input at scale 1."""
    return BICUBIC if scale > 1 else INPUT


def load_plan(
    path: str | os.PathLike[str],
    *,
    forced: Iterable[str] = (),
    only: Sequence[str] = (),
    limit: int | None = None,
    incomplete: bool = False,
) -> Plan:
    """Read the option file of a benchmark and check everything that can be known before it begins.

    Args:
        path: YAML option file.
        forced: Entries of `--force_yml`.
        only: Names of networks, of data sets, `quality` or `cost`; of each kind that is named, the others are left out.
        limit: Images of a test set at the most.
        incomplete: Do without weights and test sets that are not there; otherwise they are errors.

    Raises:
        InputError: Something is wrong; one line for each mistake.
    """
    ramit_model.register()
    file = str(path)
    options = read_options(path, forced, leave_out=("datasets",), schema=BenchmarkOptions, blocks=BLOCKS)
    order = list(options["networks"]) if isinstance(options.get("networks"), dict) else []
    if order:
        options["networks"] = {name: block for name, block in options["networks"].items() if block is not None}
    check_schema(BenchmarkOptions, options, f"{file}: ")
    check_name(options["name"], file)
    options.setdefault("num_gpu", "auto")
    options.setdefault("datasets", {})
    check_device(options, file)
    with_quality = not set(PARTS) & set(only) or "quality" in only
    missing = leave_out_missing(options, only, with_quality=with_quality)
    if missing and not incomplete:
        remedy = f"{file}: give the paths, or say --incomplete to do without what is not there"
        raise InputError("\n".join([*(f"{file}: {line}" for line in missing), remedy]))
    if not options["networks"]:
        raise InputError(f"{file}: networks: no file of any is there, so there is nothing to measure")
    for name in (BICUBIC, INPUT):
        if name in options["networks"]:
            raise InputError(f"{file}: networks.{name}: is what networks are compared with; call this one otherwise")
    networks = [
        replace(read_network(name, block, options, file), number=order.index(name))
        for name, block in options["networks"].items()
    ]
    baseline = options.get("baseline") or networks[0].name
    if baseline not in options["networks"]:
        raise InputError(
            f"{file}: baseline: {baseline!r} is not a network of this benchmark{suggest(baseline, options['networks'])}"
        )
    val = _check_val(options, file)
    datasets = _test_sets(options, file)
    cost = _check_cost(options, file)
    plan = Plan(
        name=options["name"],
        option_file=file,
        options=options,
        scale=options["scale"],
        num_gpu=_gpus(options["num_gpu"]),
        baseline=baseline,
        networks=networks,
        datasets=datasets,
        metrics=val.get("metrics", {}),
        tile=val.get("tile"),
        cases=_cases(cost, options, file),
        runs=cost.get("runs", Cost().runs),
        warmup=cost.get("warmup", Cost().warmup),
        strips=_strips(options, datasets, file),
        limit=limit,
        missing=missing,
    )
    return _restrict(plan, only, file)


def _check_val(options: Options, file: str) -> Options:
    val: Options = options.get("val") or {}
    if options.get("datasets"):
        check_schema(BenchmarkVal, val, f"{file}: val.")
        check_metrics(val["metrics"], file)
    return val


def _test_sets(options: Options, file: str) -> list[Options]:
    """The blocks of the test sets, one for each noise level."""
    for phase, block in options.get("datasets", {}).items():
        check_dataset(block, phase, options, file, is_train=False)
        if not block.get("dataroot_gt"):
            raise InputError(
                f"{file}: datasets.{phase}.dataroot_gt: is missing; without GT there is nothing to measure"
            )
    try_metrics(options, file)
    spread = {"datasets": options["datasets"], "val": options.get("val")}
    expand_sigma_sets(spread, file)
    check_set_names(spread["datasets"], file)
    # BasicSR's parser adds phase and scale.
    return [{**block, "phase": "test", "scale": options["scale"]} for block in spread["datasets"].values()]


def _gpus(num_gpu: Any) -> int:
    import torch

    return min(torch.cuda.device_count(), 1) if num_gpu == "auto" else int(num_gpu)


def _check_cost(options: Options, file: str) -> Options:
    import torch

    cost: Options = options.get("cost") or {}
    check_schema(Cost, cost, f"{file}: cost.")
    devices = cost.get("devices", "auto")
    if devices != "auto" and not (isinstance(devices, list) and devices and set(map(str, devices)) <= {"cpu", "cuda"}):
        raise InputError(f"{file}: cost.devices: must be auto, or a list of cpu and cuda, not {devices!r}")
    if "cuda" in devices and not torch.cuda.is_available():
        raise InputError(f"{file}: cost.devices: cuda needs a GPU and none is found; write auto to use what is there")
    for runtime in cost.get("runtimes", ()):
        _check_runtime(runtime, f"{file}: cost.runtimes")
    if any(cost.get("compile", ())):
        check_compiler(f"{file}: cost.compile")
    return cost


def _check_runtime(runtime: str, where: str) -> None:
    for package in () if runtime == PYTORCH else ("onnx", "onnxscript", runtime):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"{where}: {runtime} needs {package}: pip install 'ramit-basicsr[export,openvino]'")


def _cases(cost: Options, options: Options, file: str) -> list[Case]:
    """Every combination; TF32 is there on GPUs only, and other runtimes take `EXPORTED` only."""
    settings = Cost(**cost)
    devices = settings.devices
    if devices == "auto":
        devices = ["cuda"] if _gpus(options["num_gpu"]) else ["cpu"]
    cases = [
        Case(
            mode=mode,
            device=device,
            precision=precision,
            memory_format=memory_format,
            compiled=compiled,
            width=size[0],
            height=size[1],
            batch=size[2] if len(size) > 2 else 1,
            runtime=runtime,
        )
        for device in devices
        for mode, sizes in (("forward", settings.inputs), ("train", settings.train))
        for size in sizes
        for runtime in settings.runtimes
        for precision in settings.precisions
        for memory_format in settings.memory_formats
        for compiled in settings.compile
        if precision != "tf32" or device == "cuda"
        if runtime == PYTORCH or (mode, device, precision, memory_format, compiled) == EXPORTED
    ]
    if (settings.inputs or settings.train) and not cases and set(settings.runtimes) - {PYTORCH}:
        raise InputError(f"{file}: cost.runtimes: run forward passes in float32 on the CPU, contiguous, not compiled")
    if (settings.inputs or settings.train) and not cases:
        raise InputError(f"{file}: cost.precisions: tf32 needs a GPU and none is used; add float32")
    return cases


def _strips(options: Options, datasets: Sequence[Options], file: str) -> list[StripPlan]:
    strips = []
    for i, block in enumerate(options.get("strips", [])):
        check_schema(Strip, block, f"{file}: strips.{i}.")
        if block["dataset"] in {dataset["name"] for dataset in datasets}:  # others were left out
            strip = Strip(**block)
            crop = (*strip.crop,) if strip.crop else None
            strips.append(StripPlan(strip.dataset, strip.image, crop, strip.size))  # type: ignore[arg-type]
    return strips


def _restrict(plan: Plan, only: Sequence[str], file: str) -> Plan:
    """Leave out what `--only` does not name."""
    networks = [network.name for network in plan.networks]
    datasets = [block["name"] for block in plan.datasets]
    known = [*networks, *datasets, *PARTS]
    for name in only:
        if name not in known:
            raise InputError(f"--only {name}: {file} has no such network or data set{suggest(name, known)}")
    wanted_networks = [name for name in networks if name in only] or networks
    wanted_datasets = [name for name in datasets if name in only] or datasets
    parts = [part for part in PARTS if part in only] or PARTS
    return replace(
        plan,
        networks=[network for network in plan.networks if network.name in wanted_networks],
        baseline=plan.baseline if plan.baseline in wanted_networks else wanted_networks[0],
        datasets=[block for block in plan.datasets if block["name"] in wanted_datasets and "quality" in parts],
        cases=plan.cases if "cost" in parts else (),
        strips=[strip for strip in plan.strips if strip.dataset in wanted_datasets and "quality" in parts],
    )
