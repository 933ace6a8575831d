"""Time and memory: networks in turn, failures in words, ratios of pairs; and that what is timed is what is meant."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from benchmark_options import NETWORKS, benchmark_options, measure_in_this_process
from helpers import changed

from ramit_model.benchmark.measure import cost as module
from ramit_model.benchmark.measure.cost import Runner, measure_costs, probe, time_in_turn
from ramit_model.benchmark.measure.fingerprints import case_facts
from ramit_model.benchmark.measure.isolation import KilledError, isolated
from ramit_model.benchmark.measure.measurements import Measurements
from ramit_model.benchmark.plan import Plan, load_plan
from ramit_model.benchmark.results import Case, CaseCost

pytestmark = pytest.mark.usefixtures("one_thread")

FORWARD = Case("forward", "cpu", "float32", "contiguous", False, 24, 16, 1)
TRAIN = replace(FORWARD, mode="train", batch=2)
NAMES = list(NETWORKS)
QUICK = {name: {**NETWORKS["plain"], "num_feat": 4 * i} for i, name in enumerate(NAMES, 1)}
"""Networks that run in no time."""
Measure = Callable[..., list[CaseCost]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "forward 24x16, float32, cpu"),
        ({"batch": 8}, "forward 8 x 24x16, float32, cpu"),
        ({"mode": "train", "device": "cuda", "precision": "tf32"}, "train 24x16, tf32, cuda"),
        ({"memory_format": "channels_last", "compiled": True}, "forward 24x16, float32, cpu, channels last, compiled"),
        ({"runtime": "openvino"}, "forward 24x16, float32, cpu, openvino"),
        ({"compiled": True, "batch": 2}, "forward 2 x 24x16, float32, cpu, compiled"),
    ],
)
def test_a_case_in_words(changes: dict[str, Any], words: str) -> None:
    assert replace(FORWARD, **changes).words == words


def test_older_measurements_are_found() -> None:
    """A case in PyTorch is described as before there were other runtimes."""
    assert case_facts(FORWARD) == {
        **{"mode": "forward", "device": "cpu", "precision": "float32", "memory_format": "contiguous"},
        **{"compiled": False, "width": 24, "height": 16, "batch": 1},
    }
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    other = case_facts(replace(FORWARD, runtime="onnxruntime"))
    assert other["runtime"] == "onnxruntime"
    assert list(other["versions"]) == ["onnx", "onnxscript", "onnxruntime"]


# What is timed --------------------------------------------------------------------------------------------------------


def weights(runner: Runner) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in runner.network.parameters()]


def output(runner: Runner) -> torch.Tensor:
    """What the network puts out in the next run."""
    seen: list[torch.Tensor] = []
    handle = runner.network.register_forward_hook(lambda _, __, out: seen.append(out))
    runner()
    handle.remove()
    (result,) = seen
    return result


@pytest.mark.parametrize("name", NAMES)
def test_a_forward_pass_trains_nothing(name: str) -> None:
    runner = Runner(FORWARD, NETWORKS[name], 2)
    before = weights(runner)
    result = output(runner)
    assert not runner.network.training
    assert result.is_inference()
    assert (result.dtype, result.shape[0]) == (torch.float32, 1)
    torch.testing.assert_close(weights(runner), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_trains(name: str) -> None:
    runner = Runner(TRAIN, NETWORKS[name], 2)
    before = weights(runner)
    assert output(runner).shape[0] == 2
    assert runner.network.training
    changes = [(one - other).abs().max() for one, other in zip(weights(runner), before, strict=True)]
    # Adam's first step has the length of the learning rate, wherever there is a gradient.
    assert max(changes) == pytest.approx(1e-4, rel=0.1)
    assert sum(change > 0 for change in changes) > 0.9 * len(changes)


def test_steps_bring_the_output_nearer() -> None:
    runner = Runner(TRAIN, NETWORKS["plain"], 2)
    distances = []
    for _ in range(10):
        distances.append((output(runner).detach() - runner.gt).abs().mean())
    assert distances[-1] < distances[0]


@pytest.mark.parametrize(("case", "precision"), [(FORWARD, "bfloat16"), (FORWARD, "float16"), (TRAIN, "bfloat16")])
def test_half_precision(case: Case, precision: str) -> None:
    runner = Runner(replace(case, precision=precision), NETWORKS["plain"], 2)
    kinds: set[torch.dtype] = set()
    runner.network.conv_first.register_forward_hook(lambda _, __, out: kinds.add(out.dtype))
    before = weights(runner)
    runner()
    assert kinds == {getattr(torch, precision)}
    assert {parameter.dtype for parameter in runner.network.parameters()} == {torch.float32}
    moved = any(not torch.equal(one, other) for one, other in zip(weights(runner), before, strict=True))
    assert moved == (case.mode == "train")


def test_float32_is_float32() -> None:
    for precision, allowed in (("float32", False), ("tf32", True), ("float32", False)):
        runner = Runner(replace(FORWARD, precision=precision), NETWORKS["plain"], 2)
        assert output(runner).dtype == torch.float32
        assert torch.backends.cuda.matmul.allow_tf32 is allowed
        assert torch.backends.cudnn.allow_tf32 is allowed


def test_channels_last() -> None:
    runner = Runner(replace(FORWARD, memory_format="channels_last"), NETWORKS["plain"], 2)
    wanted = {"memory_format": torch.channels_last}
    assert runner.lq.is_contiguous(**wanted)
    assert runner.network.conv_last.weight.is_contiguous(**wanted)
    assert output(runner).is_contiguous(**wanted)
    plain = Runner(FORWARD, NETWORKS["plain"], 2)
    assert not plain.lq.is_contiguous(**wanted)
    torch.testing.assert_close(output(runner), output(plain), rtol=1e-4, atol=1e-5)


def test_compiled_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []

    def note(network: torch.nn.Module) -> None:
        compiled.append(network)

    monkeypatch.setattr(torch.nn.Module, "compile", note)
    Runner(FORWARD, NETWORKS["plain"], 2)
    assert compiled == []
    runner = Runner(replace(FORWARD, compiled=True), NETWORKS["plain"], 2)
    assert compiled == [runner.network]


def test_an_odd_size_is_padded() -> None:
    runner = Runner(replace(FORWARD, width=17, height=9), NETWORKS["tiny"], 2)
    assert runner.lq.shape == (1, 3, 9, 17)
    assert all(side % (2 * runner.unit) == 0 for side in output(runner).shape[-2:])


# In turn --------------------------------------------------------------------------------------------------------------


def test_networks_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every network once in each run, and each run begins with another one."""
    order: list[str] = []
    clock = SimpleNamespace(now=0.0)

    class Planted:
        def __init__(self, case: Case, network_g: dict[str, Any], scale: int) -> None:
            assert (case, scale) == (FORWARD, 2)
            self.name, self.seconds = network_g["type"], network_g["seconds"]

        def __call__(self) -> None:
            order.append(self.name)
            clock.now += self.seconds

    monkeypatch.setattr(module, "Runner", Planted)
    monkeypatch.setattr(module, "prepare_process", lambda: None)
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock.now)
    networks = {name: {"type": name, "seconds": seconds} for name, seconds in (("a", 1), ("b", 2), ("c", 4))}
    times = list(time_in_turn(FORWARD, networks, 2, range(5), 2))
    assert "".join(order) == "abc" * 2 + "abc" + "bca" + "cab" + "abc" + "bca"
    assert times == [{"a": 1, "b": 2, "c": 4}] * 5
    assert [list(run) for run in times] == [["a", "b", "c"]] * 5
    # Runs that are measured later take the turn that they would have had.
    order.clear()
    list(time_in_turn(FORWARD, networks, 2, [1, 4], 0))
    assert "".join(order) == "bca" * 2


# Memory ---------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
def test_peak_memory() -> None:
    """That of what the network puts out and all before it; more for larger inputs."""
    peaks = []
    for side in (64, 512):
        (value,) = isolated(probe, replace(FORWARD, width=side, height=side), NETWORKS["plain"], 2)
        peaks.append(value["peak_memory"])
    features = 4 * 512 * 512 * 4  # of one layer, 4 channels of 4 bytes
    result = 3 * 1024 * 1024 * 4
    assert result + features < peaks[1] < 40 * result
    assert peaks[0] < peaks[1] / 2


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell")
@pytest.mark.parametrize("mode", ["forward", "train"])
def test_the_memory_of_compiling_does_not_count(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Compiling(Runner):
        first = True

        def __call__(self) -> None:
            if self.first:
                torch.ones(2**28)  # 1 GiB
                self.first = False
            super().__call__()

    monkeypatch.setattr(module, "prepare_process", lambda: None)
    monkeypatch.setattr(module, "Runner", Compiling)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda _: None)
    case = replace(FORWARD, mode=mode, compiled=True)
    for compiled, fits in (True, True), (False, False):
        (value,) = probe(replace(case, compiled=compiled), NETWORKS["plain"], 2)
        assert (value["peak_memory"] < 2**29) == fits


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory"),
        (MemoryError(), "out of memory"),
        (RuntimeError("\nno kernel for this type\nat line 3"), "no kernel for this type"),
        (ValueError("x" * 1000), "x" * 200),
        (NotImplementedError(), "NotImplementedError"),
    ],
)
def test_a_failure_in_words(error: Exception, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(module, "prepare_process", lambda: None)
    monkeypatch.setattr(module, "Runner", broken)
    assert list(probe(FORWARD, NETWORKS["plain"], 2)) == [{"failure": words}]


# All of it ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What processes would have been started for."""
    return measure_in_this_process(monkeypatch)


@pytest.fixture
def measure(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> Measure:
    """Measures the costs of options, always with the same file of measurements."""

    def run(**changes: Any) -> list[CaseCost]:
        options = benchmark_options(pairs, networks={name: {"network_g": net} for name, net in QUICK.items()})
        for key, value in changes.items():
            options = changed(options, key.replace("__", "."), value)
        plan: Plan = load_plan(write_options(options), only=["cost"])
        with Measurements(tmp_path / "measurements.jsonl") as store:
            return measure_costs(plan, store, {"machine": "this one"})

    return run


def functions(started: list[Any]) -> list[str]:
    return [function.__name__ for function, *_ in started]


def test_every_network_in_every_case(measure: Measure, started: list[Any]) -> None:
    forward, train = measure()
    assert [forward.case.words, train.case.words] == ["forward 24x16, float32, cpu", "train 2 x 16x16, float32, cpu"]
    for costs in (forward, train):
        assert list(costs.networks) == NAMES
        for cost in costs.networks.values():
            assert cost.failure is None
            assert len(cost.seconds) == 3
            assert min(cost.seconds) > 0
            assert min(cost.seconds) <= cost.spread.low <= cost.median <= cost.spread.high <= max(cost.seconds)
            assert cost.images_per_second == costs.case.batch / cost.median
        assert (costs.networks["tiny"].ratio, *costs.networks["tiny"].ratio_spread) == (1, 1, 1)
    assert functions(started) == [*["probe"] * 3, "time_in_turn"] * 2
    # And all of that only once.
    again = measure()
    assert len(started) == 8
    assert again == [forward, train]


def test_only_what_is_missing(measure: Measure, started: list[Any]) -> None:
    (first,) = measure(cost__train=[])
    (more,) = measure(cost__train=[], cost__runs=5)
    assert functions(started[4:]) == ["time_in_turn"]
    assert list(started[-1][4]) == [3, 4]
    for name, cost in more.networks.items():
        assert list(cost.seconds[:3]) == list(first.networks[name].seconds)
        assert len(cost.seconds) == 5
    # Weights and names do not matter, other networks do: their times are taken in turn with all others'.
    started.clear()
    measure(cost__train=[], networks__wide__network_g={**QUICK["wide"], "num_feat": 6})
    assert functions(started) == ["probe", "time_in_turn"]
    started.clear()
    measure(cost__train=[], networks__wide=...)
    assert functions(started) == ["time_in_turn"]


def planted(
    memory: dict[str, Any], times: list[dict[str, float]], failure: Exception | None = None
) -> Callable[..., Iterator[Any]]:
    """In place of `isolated`: by the `type` of the networks or by name, what their processes would say."""

    def run(function: Callable[..., Any], case: Case, networks: Any, *_: Any, **__: Any) -> Iterator[Any]:
        if function is probe:
            name = next(name for name, network_g in QUICK.items() if network_g == networks)
            if isinstance(memory[name], Exception):
                raise memory[name]
            yield memory[name]
            return
        for values in times:
            yield {name: values[name] for name in networks}
        if failure:
            raise failure

    return run


FITS = {"peak_memory": 1000}
TIMES = [
    {"tiny": 2.0, "wide": 1.0, "plain": 0.5},
    {"tiny": 3.0, "wide": 6.0, "plain": 0.5},
    {"tiny": 4.0, "wide": 1.0, "plain": 0.5},
]


def test_times_and_ratios(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = {name: {"peak_memory": i * 1000} for i, name in enumerate(NAMES)}
    monkeypatch.setattr(module, "isolated", planted(memory, TIMES))
    (case,) = measure(cost__inputs=[])
    tiny, wide, plain = case.networks.values()
    assert (tiny.seconds, wide.seconds) == ([2, 3, 4], [1, 6, 1])
    assert (tiny.median, wide.median, plain.median) == (3, 1, 0.5)
    assert (tiny.spread, wide.spread) == ((2.5, 3.5), (1, 3.5))
    # Of the ratios 2, 0.5, 4; not the ratio of the medians, 3.
    assert (wide.ratio, wide.ratio_spread) == (2, (1.25, 3))
    assert (plain.ratio, plain.ratio_spread) == (6, (5, 7))
    assert plain.images_per_second == 2 / 0.5
    assert [cost.peak_memory for cost in case.networks.values()] == [0, 1000, 2000]


@pytest.mark.parametrize(
    ("failing", "words"),
    [
        ({"failure": "no kernel"}, "no kernel"),
        ({"failure": "out of memory"}, "out of memory"),
        (KilledError("the process ended with code -9"), "out of memory"),
    ],
)
@pytest.mark.parametrize("name", ["tiny", "wide"])
def test_the_others_go_on(
    name: str, failing: Any, words: str, measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "isolated", planted({**dict.fromkeys(NAMES, FITS), name: failing}, TIMES))
    (case,) = measure(cost__train=[])
    failed = case.networks.pop(name)
    assert (failed.failure, list(failed.seconds), failed.median, failed.peak_memory) == (words, [], None, None)
    assert [cost.failure for cost in case.networks.values()] == [None, None]
    # There is nothing to compare with where the baseline failed.
    assert (case.networks["plain"].ratio is None) == (name == "tiny")


@pytest.mark.parametrize(
    "failure",
    [KilledError("the process ended with code -9"), torch.OutOfMemoryError("CUDA out of memory"), MemoryError()],
    ids=lambda error: type(error).__name__,
)
def test_together_they_do_not_fit(failure: Exception, measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "isolated", planted(dict.fromkeys(NAMES, FITS), [], failure))
    (case,) = measure(cost__train=[])
    assert {cost.failure for cost in case.networks.values()} == {"out of memory with all networks loaded"}
    # Kept, too.
    monkeypatch.setattr(module, "isolated", None)
    assert measure(cost__train=[]) == [case]


def test_all_fail(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "isolated", planted({key: {"failure": "no kernel"} for key in NAMES}, []))
    (case,) = measure(cost__train=[])
    assert [cost.failure for cost in case.networks.values()] == ["no kernel"] * 3


def test_a_mistake_is_not_called_a_want_of_memory(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "isolated", planted(dict.fromkeys(NAMES, FITS), [], RuntimeError("shapes")))
    with pytest.raises(RuntimeError, match="shapes"):
        measure(cost__train=[])


# Other runtimes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_another_runtime_gives_the_same_pixels(runtime: str) -> None:
    for package in ("onnx", "onnxscript", runtime):
        pytest.importorskip(package)
    network_g = QUICK[NAMES[0]]
    runner, expected = Runner(replace(FORWARD, runtime=runtime), network_g, 2), Runner(FORWARD, network_g, 2)
    with torch.inference_mode():
        torch.testing.assert_close(runner._forward(), expected._forward(), rtol=0, atol=1e-5)


def test_the_memory_of_exporting_does_not_count() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    case = replace(FORWARD, runtime="onnxruntime", width=256, height=256)
    (result,) = isolated(probe, case, QUICK[NAMES[0]], 2)
    assert result["peak_memory"] is None or 0 < result["peak_memory"] < 100e6
