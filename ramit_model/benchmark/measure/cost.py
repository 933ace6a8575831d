"""Time and memory of networks, run in turn, so that a drift of the machine affects all alike."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from ramit_model.basicsr_bridge import build_network
from ramit_model.benchmark.measure.counting import channels_of
from ramit_model.benchmark.measure.fingerprints import case_facts, network_fingerprint
from ramit_model.benchmark.measure.isolation import KilledError, be_quiet, isolated, prepare_process
from ramit_model.benchmark.measure.measurements import Measurements, key_of
from ramit_model.benchmark.measure.runtimes import run_elsewhere
from ramit_model.benchmark.networks import Network
from ramit_model.benchmark.plan import Plan
from ramit_model.benchmark.results import OUT_OF_MEMORY, PYTORCH, Case, CaseCost, NetworkCost
from ramit_model.benchmark.statistics import paired_ratios, quartiles
from ramit_model.config.option_file import Options
from ramit_model.inference.foreign.network import ForeignNetwork
from ramit_model.inference.foreign.onnx_network import OnnxNetwork
from ramit_model.inference.padding import pad_symmetric, run_padded, size_unit
from ramit_model.inference.precision import autocast
from ramit_model.system.errors import one_line
from ramit_model.system.memory import forget_peak, is_out_of_memory, resident, resident_peak
from ramit_model.system.occasional import bar_options

REASON = 200
"""Largest number of characters of a reason in a table."""

STEPS = 2
"""Training steps until the memory of a training is complete: Adam's moments come with the first step."""


def measure_costs(plan: Plan, store: Measurements, environment: dict[str, Any]) -> list[CaseCost]:
    """Measure memory and time of every network in every case; stored measurements are not repeated.

    Args:
        plan: Networks and cases.
        store: Measurements made so far.
        environment: Machine and versions.
    """
    total = len(plan.cases) * len(plan.networks) * (plan.runs + 1)
    with tqdm(total=total, unit="run", **bar_options()) as bar:
        return [_measure_case(plan, case, store, environment, bar) for case in plan.cases]


def _measure_case(plan: Plan, case: Case, store: Measurements, environment: dict[str, Any], bar: Any) -> CaseCost:
    bar.set_description(case.words)
    keys = {network.name: _memory_key(plan, case, network, environment) for network in plan.networks}
    for network in plan.networks:
        if store.get(keys[network.name]) is None:
            value = peak_memory(case, network.network_g, plan.scale)
            store.add(keys[network.name], value, kind="memory", network=network.name, case=case.words)
        bar.update()
    costs = {name: store.get(key) or {} for name, key in keys.items()}
    working = [network for network in plan.networks if "failure" not in costs[network.name]]
    rounds = _rounds(plan, case, working, store, environment, bar) if working else []
    return CaseCost(case, {name: _summary(name, cost, rounds, plan, case) for name, cost in costs.items()})


def _memory_key(plan: Plan, case: Case, network: Network, environment: dict[str, Any]) -> str:
    fingerprint = network_fingerprint(network, trained=False)
    return key_of(kind="memory", network=fingerprint, case=case_facts(case), scale=plan.scale, environment=environment)


def peak_memory(case: Case, network_g: Options, scale: int, *, keep_memory: bool = True) -> dict[str, Any]:
    """Peak memory of a network, by itself in a process, which may be killed: the result of `probe`."""
    try:
        return next(isolated(probe, case, network_g, scale, keep_memory=keep_memory))
    except KilledError:
        return {"failure": OUT_OF_MEMORY}


def _rounds(
    plan: Plan, case: Case, networks: Sequence[Network], store: Measurements, environment: dict[str, Any], bar: Any
) -> list[dict[str, float]]:
    """Seconds of every network, by name, in every run."""
    # Times of networks compare only if they were taken in turn: the key names all of them, in order.
    group = [network_fingerprint(network, trained=False) for network in networks]
    common = {"case": case_facts(case), "networks": group, "scale": plan.scale, "environment": environment}
    keys = [key_of(kind="time", run=run, **common) for run in range(plan.runs)]
    names = [network.name for network in networks]
    missing = [run for run, key in enumerate(keys) if store.get(key) is None]
    bar.update((plan.runs - len(missing)) * len(networks))
    if missing:
        options = {network.name: network.network_g for network in networks}
        about = {"kind": "time", "networks": names, "case": case.words}
        try:
            times = isolated(time_in_turn, case, options, plan.scale, missing, plan.warmup)
            for run, seconds in zip(missing, times, strict=True):
                store.add(keys[run], [seconds[name] for name in names], **about, run=run)
                bar.update(len(networks))
        except Exception as error:
            if not isinstance(error, KilledError) and not is_out_of_memory(error):
                raise
            # Each had enough memory by itself.
            for run in missing:
                store.add(keys[run], [], **about, run=run)
    return [dict(zip(names, taken, strict=True)) for key in keys if (taken := store.get(key))]


def _summary(name: str, cost: dict[str, Any], rounds: list[dict[str, float]], plan: Plan, case: Case) -> NetworkCost:
    if "failure" in cost or not rounds:
        return NetworkCost(failure=cost.get("failure", f"{OUT_OF_MEMORY} with all networks loaded"))
    baseline = [times[plan.baseline] for times in rounds] if plan.baseline in rounds[0] else None
    return measured_cost([times[name] for times in rounds], baseline, case, cost["peak_memory"])


def measured_cost(
    seconds: Sequence[float], baseline: Sequence[float] | None, case: Case, peak_memory: int | None
) -> NetworkCost:
    """Sum up the runs of a network.

    Args:
        seconds: Time of each run.
        baseline: Time of the baseline's run beside each; None without a baseline.
        case: Settings of the runs.
        peak_memory: Bytes, or None if the system does not tell.
    """
    ratios = [] if baseline is None else paired_ratios(baseline, seconds)
    return NetworkCost(
        failure=None,
        seconds=list(seconds),
        median=median(seconds),
        spread=quartiles(seconds),
        ratio=median(ratios) if ratios else None,
        ratio_spread=quartiles(ratios) if ratios else None,
        images_per_second=case.batch / median(seconds),
        peak_memory=peak_memory,
    )


# In a separate process


class Runner:
    """A network and its input, on the device and in the form of a case.

    Args:
        case: Settings of the run.
        network_g: Options of the network; its weights stay random, which costs the same.
        scale: Output size over input size.
    """

    def __init__(self, case: Case, network_g: Options, scale: int) -> None:
        self.case, self.scale = case, scale
        self.device = torch.device(case.device)
        torch.manual_seed(0)
        layout = torch.channels_last if case.memory_format == "channels_last" else torch.contiguous_format
        built = build_network(deepcopy(network_g))
        if isinstance(built, ForeignNetwork):
            _check_supported(built, case)
        self.network: nn.Module = built.to(self.device, memory_format=layout)
        self.unit = size_unit(self.network, network_g)
        channels = channels_of(self.network, network_g)
        lq = torch.rand(case.batch, channels, case.height, case.width)
        self.lq = lq.to(self.device, memory_format=layout)
        if case.compiled:
            self.network.compile()
        if case.mode == "train":
            self.gt = torch.rand(case.batch, channels, case.height * scale, case.width * scale, device=self.device)
            self.optimizer = torch.optim.Adam(self.network.train().parameters(), lr=1e-4)
            self.scaler = torch.amp.GradScaler(case.device, enabled=case.precision == "float16")
        else:
            self.network.eval()
        self.forward: Callable[[Tensor], Tensor] = self.network
        if case.runtime != PYTORCH and not isinstance(built, OnnxNetwork):
            self.forward = run_elsewhere(self.network, case.runtime, pad_symmetric(self.lq, self.unit))

    def __call__(self) -> None:
        """Run once, to the end."""
        tf32 = self.case.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        if self.case.mode == "train":
            self._step()
        else:
            with torch.inference_mode():
                self._forward()
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def forget(self) -> bool:
        """Free the memory of the last run, and reset the recorded peak.

        Returns:
            Whether the system supports that.
        """
        if self.case.mode == "train":
            self.optimizer.zero_grad(set_to_none=True)
            self.optimizer.state.clear()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return True
        return forget_peak()

    def _forward(self) -> Tensor:
        with autocast(self.device.type, self.case.precision):
            return run_padded(self.forward, self.lq, self.unit, self.scale)

    def _step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss = F.l1_loss(self._forward().float(), self.gt)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()


def _check_supported(network: ForeignNetwork, case: Case) -> None:
    """Refuse a case that a network of others is not made for; its times would mislead.

    Raises:
        ValueError: It is not.
    """
    if case.precision not in network.precisions:
        raise ValueError(f"no {case.precision}, says what loads it")
    if network.trains:
        return
    if case.mode == "train" or case.device != "cpu" or case.compiled or case.runtime == "openvino":
        raise ValueError("an ONNX file is only run by ONNX Runtime on the CPU")


def probe(case: Case, network_g: Options, scale: int, *, keep_memory: bool = True) -> Iterator[dict[str, Any]]:
    """Run a network once and measure its peak memory.

    The memory of compiling and of exporting, several times that of a run, does not count.

    Args:
        case: Settings of the run.
        network_g: Options of the network.
        scale: Output size over input size.
        keep_memory: Whether the process keeps freed memory, as `basicsr` does; otherwise it is as Python starts it.

    Yields:
        `peak_memory` in bytes (None where the system does not tell), or `failure`.
    """
    (prepare_process if keep_memory else be_quiet)()
    try:
        runner = Runner(case, network_g, scale)
        tells = True
        if case.compiled:
            runner()
        if case.compiled or case.runtime != PYTORCH:  # which keep the memory of their first run
            tells = runner.forget()
        held = torch.cuda.memory_allocated() if case.device == "cuda" else resident()
        for _ in range(STEPS if case.mode == "train" else 1):
            runner()
    except Exception as error:
        yield {"failure": OUT_OF_MEMORY if is_out_of_memory(error) else one_line(error)[:REASON]}
        return
    peak = torch.cuda.max_memory_allocated() if case.device == "cuda" else resident_peak()
    yield {"peak_memory": peak - held if peak and tells else None}


def time_in_turn(
    case: Case, networks: dict[str, Options], scale: int, runs: Sequence[int], warmup: int
) -> Iterator[dict[str, float]]:
    """Run all networks in turn.

    Args:
        case: Settings of the run.
        networks: Name -> options.
        scale: Output size over input size.
        runs: Numbers of the runs; each begins with another network.
        warmup: Runs before them that do not count.

    Yields:
        Name -> seconds, for each run.
    """
    prepare_process()
    yield from take_turns({name: Runner(case, opt, scale) for name, opt in networks.items()}, runs, warmup)


def take_turns(
    runners: Mapping[str, Callable[[], None]], runs: Sequence[int], warmup: int
) -> Iterator[dict[str, float]]:
    """Run all runners in turn, in this process.

    Args:
        runners: Name -> function that runs once, to the end.
        runs: Numbers of the runs, as in `time_in_turn`.
        warmup: Number of runs before them, as in `time_in_turn`.

    Yields:
        Name -> seconds, for each run.
    """
    for _ in range(warmup):
        for runner in runners.values():
            runner()
    names = list(runners)
    for run in runs:
        turn = run % len(names)
        seconds = {name: _timed(runners[name]) for name in names[turn:] + names[:turn]}
        yield {name: seconds[name] for name in names}


def _timed(runner: Callable[[], None]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    runner()
    return time.perf_counter() - started
