"""Networks of others in a benchmark: planned, measured once, described; what does not fit or is not there is a line."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("spandrel", reason="spandrel is not installed: pip install 'ramit-basicsr[spandrel]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'ramit-basicsr[export]'")

from benchmark_options import benchmark_options, measure_in_this_process, save_weights
from foreign import save_small, write_onnx

from ramit_model.benchmark import run as run_module
from ramit_model.benchmark.measure.cost import Runner
from ramit_model.benchmark.plan import load_plan
from ramit_model.benchmark.report.renderings import terminal_report
from ramit_model.benchmark.results import Case, Results
from ramit_model.benchmark.run import run_benchmark
from ramit_model.system.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")

Write = Callable[..., Path]
FORWARD = Case("forward", "cpu", "float32", "contiguous", False, 16, 16, 1)


def options_for(pairs: Path, folder: Path) -> dict[str, Any]:
    """Options with a network for each kind of file, and one of ours."""
    options = benchmark_options(pairs, {"tiny": save_weights(folder / "tiny.pth")})
    options["networks"] = {
        "SPAN": {"network_g": {"type": "spandrel", "weights": str(save_small(folder / "span.pth", "SPAN"))}},
        "nearest": {"network_g": {"type": "onnx", "weights": str(write_onnx(folder / "nearest.onnx"))}},
        "tiny": options["networks"]["tiny"],
    }
    options["cost"] = {"inputs": [[16, 16]], "train": [[16, 16]], "runs": 2, "warmup": 0}
    options["strips"] = []
    return options


def run(path: Path, out: Path) -> tuple[Results, list[Any]]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        started = measure_in_this_process(monkeypatch)
        return run_benchmark(load_plan(path), out), started


def refused(path: Path, **arguments: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        load_plan(path, **arguments)
    return str(caught.value).splitlines()


def test_a_benchmark(pairs: Path, tmp_path: Path, write_options: Write) -> None:
    options = options_for(pairs, tmp_path)
    results, _ = run(write_options(options), tmp_path / "out")
    span, nearest, tiny = results.networks
    assert span.found is not None
    assert span.found.startswith("SPAN (8nf) by spandrel ")
    assert span.found.endswith(", x2, inputs of any size, float32, float16, bfloat16")
    assert nearest.found is not None
    assert nearest.found.startswith("ONNX by ONNX Runtime ")
    assert tiny.found is None
    assert span.counts.mult_adds is not None
    assert (nearest.counts.parameters, nearest.counts.mult_adds) == (36, None)
    assert span.weights is not None
    assert span.weights.path == str(tmp_path / "span.pth")
    assert {"spandrel", "onnxruntime"} <= results.versions.keys()
    quality = results.datasets[0].results
    assert list(quality) == ["bicubic", "SPAN", "nearest", "tiny"]
    # Pixels repeated and a little darker: 20 dB for white.
    assert 15 < quality["nearest"].average["psnr"] < 30
    forward, train = results.costs
    assert all(cost.failure is None for cost in forward.networks.values())
    assert train.networks["SPAN"].failure is None
    assert train.networks["nearest"].failure == "an ONNX file is only run by ONNX Runtime on the CPU"
    text = terminal_report(results)
    assert "SPAN: SPAN (8nf) by spandrel" in text
    assert "nearest: Mult-Adds and activations were not counted." in text

    # Where the file is does not matter, what is in it does.
    moved = (tmp_path / "span.pth").rename(tmp_path / "moved.pth")
    options["networks"]["SPAN"]["network_g"]["weights"] = str(moved)
    again, started = run(write_options(options), tmp_path / "out")
    assert started == []
    assert again.datasets == results.datasets
    write_onnx(tmp_path / "nearest.onnx", half=True)
    _, started = run(write_options(options), tmp_path / "out")
    assert {task.network for _, task, *_ in started if hasattr(task, "network")} == {"nearest"}


def test_options(pairs: Path, tmp_path: Path, write_options: Write) -> None:
    options = options_for(pairs, tmp_path)
    plan = load_plan(write_options(options))
    assert [(network.is_foreign, network.weights) for network in plan.networks] == [
        (True, str(tmp_path / "span.pth")),
        (True, str(tmp_path / "nearest.onnx")),
        (False, str(tmp_path / "tiny.pth")),
    ]
    options["networks"]["SPAN"]["weights"] = str(tmp_path / "span.pth")
    path = write_options(options)
    assert refused(path) == [f"{path}: networks.SPAN.weights: type spandrel has it in network_g; write it there"]
    del options["networks"]["SPAN"]["weights"]
    path = write_options({**options, "scale": 3})
    assert refused(path)[0].startswith(f"{path}: networks.SPAN: scale: is 3, but network_g has scale 2")
    options["networks"]["SPAN"]["network_g"] = {"type": "spandrel"}
    path = write_options(options)
    assert refused(path) == [f"{path}: networks.SPAN: network_g.weights: is missing; add it"]


def test_a_file_that_is_not_there(pairs: Path, tmp_path: Path, write_options: Write) -> None:
    options = options_for(pairs, tmp_path)
    options["networks"]["SPAN"]["network_g"]["weights"] = "no.pth"
    options["baseline"] = "SPAN"
    path = write_options(options)
    line, remedy = refused(path)
    assert line == f"{path}: networks.SPAN.network_g.weights: no.pth: no such file"
    assert "--incomplete" in remedy
    plan = load_plan(path, incomplete=True)
    assert ([network.name for network in plan.networks], plan.baseline) == (["nearest", "tiny"], "nearest")
    assert list(plan.missing) == ["networks.SPAN.network_g.weights: no.pth: no such file"]
    path = write_options({**options, "networks": {"SPAN": options["networks"]["SPAN"]}})
    assert refused(path, incomplete=True) == [
        f"{path}: networks: no file of any is there, so there is nothing to measure"
    ]


def test_without_spandrel(pairs: Path, tmp_path: Path, write_options: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_options(options_for(pairs, tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert refused(path) == [
        f"{path}: networks.SPAN: network_g.weights: type spandrel needs the package spandrel: "
        "pip install 'ramit-basicsr[spandrel]'"
    ]


def test_precisions_that_a_network_lacks(tmp_path: Path) -> None:
    network_g = {"type": "spandrel", "weights": str(save_small(tmp_path / "w.pth", "SwinIR"))}
    Runner(replace(FORWARD, precision="bfloat16"), network_g, 2)()
    with pytest.raises(ValueError, match="no float16, says what loads it"):
        Runner(replace(FORWARD, precision="float16"), network_g, 2)


def test_a_network_that_needs_data_is_counted_once(
    pairs: Path, tmp_path: Path, write_options: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at values to choose its experts; a run on the CPU counts it, and the journal keeps that."""
    calls = []

    def count(*_: Any) -> Any:
        calls.append(1)
        yield run_module.Counts(1, 5e9, 7e6, (1280, 720))

    monkeypatch.setattr(run_module, "count_by_running", count)
    options = options_for(pairs, tmp_path)
    block = {"network_g": {"type": "spandrel", "weights": str(save_small(tmp_path / "w.pth", "SeemoRe"))}}
    options.update(networks={"SeemoRe": block}, cost=None, datasets={}, val=None)
    for _ in range(2):
        results, _ = run(write_options(options), tmp_path / "out")
        assert (results.networks[0].counts.mult_adds, results.networks[0].counts.activations) == (5e9, 7e6)
        assert results.networks[0].counts.parameters > 1000
    assert len(calls) == 1
