"""Option files of benchmarks: good ones become a plan, each mistake gives one line with file, key and remedy."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmark_options import NETWORKS, benchmark_options, save_weights
from helpers import TINY, changed

from ramit_model.benchmark.plan import Plan, StripPlan, load_plan
from ramit_model.system.errors import InputError

Write = Callable[..., Path]


def refused(path: Path, **arguments: Any) -> list[str]:
    """The lines that say what is wrong."""
    with pytest.raises(InputError) as caught:
        load_plan(path, **arguments)
    return str(caught.value).splitlines()


def names(plan: Plan) -> list[str]:
    return [network.name for network in plan.networks]


def sets(plan: Plan) -> list[str]:
    return [block["name"] for block in plan.datasets]


def test_a_good_file_becomes_a_plan(pairs: Path, tmp_path: Path, write_options: Write) -> None:
    weights = save_weights(tmp_path / "tiny.pth")
    options = benchmark_options(pairs, {"tiny": weights}, baseline="wide")
    options["networks"]["tiny"].update(param_key="params_ema", published="RAMiT_x2")
    options["val"]["tile"] = 32
    options["strips"].append({"dataset": "pairs", "size": 16})
    plan = load_plan(write_options(options))
    assert (plan.name, plan.scale, plan.num_gpu, plan.baseline) == ("tiny", 2, 0, "wide")
    assert names(plan) == list(NETWORKS)
    assert [network.network_g for network in plan.networks] == list(NETWORKS.values())
    tiny, wide, _ = plan.networks
    assert (tiny.weights, tiny.param_key, tiny.published) == (str(weights), "params_ema", "RAMiT_x2")
    assert (wide.weights, wide.param_key, wide.published) == (None, "params", None)
    # What BasicSR's data sets want.
    assert list(plan.datasets) == [{**options["datasets"]["test_1"], "phase": "test", "scale": 2}]
    assert plan.metrics == options["val"]["metrics"]
    assert plan.tile == 32
    assert [case.words for case in plan.cases] == ["forward 24x16, float32, cpu", "train 2 x 16x16, float32, cpu"]
    assert (plan.runs, plan.warmup, plan.limit, list(plan.missing)) == (3, 1, None, [])
    assert list(plan.strips) == [StripPlan("pairs", "p1", (4, 8, 24, 16), 64), StripPlan("pairs", None, None, 16)]


MISTAKES: dict[str, tuple[str, Any, list[str]]] = {
    "misspelt top key": ("netwroks", {}, ["netwroks", "did you mean networks?"]),
    "no networks": ("networks", ..., ["networks: is missing"]),
    "an empty list of networks": ("networks", {}, ["networks: "]),
    "a network that is no block": ("networks.tiny", 3, ["networks.tiny"]),
    "no scale": ("scale", ..., ["scale: is missing"]),
    "name leads elsewhere": ("name", "../x", ["name: '../x'"]),
    "misspelt key of a network": ("networks.tiny.weight", "x", ["networks.tiny.weight: ", "did you mean weights?"]),
    "no network_g": ("networks.tiny.network_g", ..., ["networks.tiny.network_g: is missing"]),
    "unknown network": ("networks.tiny.network_g.type", "RAMIT", ["networks.tiny", "did you mean RAMiT?"]),
    "misspelt argument": ("networks.wide.network_g.dims", 3, ["networks.wide", "network_g.dims", "did you mean dim?"]),
    "wrong argument": ("networks.wide.network_g.dim", 30, ["networks.wide", "network_g", "multiple of 16"]),
    "another scale": ("networks.wide.network_g.scale", 3, ["networks.wide", "scale: is 2", "has scale 3"]),
    "another task": ("networks.tiny.network_g", {**TINY, "scale": 1, "task": "GDN"}, ["networks.tiny"]),
    "unknown figures": ("networks.tiny.published", "RAMiT_x5", ["networks.tiny.published", "did you mean RAMiT_x"]),
    "baseline of nobody": ("baseline", "tinny", ["baseline: 'tinny'", "did you mean tiny?"]),
    "missing weights": ("networks.tiny.weights", "no.pth", ["networks.tiny.weights: no.pth: no such file"]),
    "GPUs that are not there": ("num_gpu", 64, ["num_gpu: 64 wanted", "auto"]),
    "misspelt key of val": ("val.metric", {}, ["val.metric: ", "did you mean metrics?"]),
    "no val": ("val", ..., ["val.metrics: is missing"]),
    "no metrics": ("val.metrics", {}, ["val.metrics: "]),
    "unknown metric": ("val.metrics.psnr.type", "calculate_pnsr", ["val.metrics.psnr.type", "calculate_psnr"]),
    "unknown metric argument": ("val.metrics.psnr.border", 2, ["val.metrics.psnr.border", "crop_border"]),
    "no tile": ("val.tile", 0, ["val.tile: "]),
    "misspelt key of cost": ("cost.input", [[8, 8]], ["cost.input: ", "did you mean inputs?"]),
    "unknown device": ("cost.devices", ["gpu"], ["cost.devices", "must be auto, or a list", "'gpu'"]),
    "unknown precision": ("cost.precisions", ["fp16"], ["cost.precisions[0]", "float16", "'fp16'"]),
    "unknown memory format": ("cost.memory_formats", ["nhwc"], ["cost.memory_formats[0]", "channels_last"]),
    "an input of one side": ("cost.inputs", [[64]], ["cost.inputs[0]"]),
    "an empty input": ("cost.inputs", [[64, 0]], ["cost.inputs[0][1]", "greater than 0"]),
    "no runs": ("cost.runs", 0, ["cost.runs", "greater than 0"]),
    "fewer than no warm-up": ("cost.warmup", -1, ["cost.warmup"]),
    "TF32 on a CPU": ("cost.precisions", ["tf32"], ["cost.precisions: tf32 needs a GPU", "add float32"]),
    "number as text": ("val.metrics.psnr.crop_border", "2e0", ["val.metrics.psnr.crop_border", "write 2"]),
    "misspelt data set key": ("datasets.test_1.dataroot_hq", "x", ["datasets.test_1.dataroot_hq", "dataroot_lq"]),
    "missing folder": ("datasets.test_1.dataroot_gt", "no.lmdb", ["datasets.test_1.dataroot_gt", "no such folder"]),
    "a training set": ("datasets.train", {"name": "t"}, ["datasets.train", "val or test"]),
    "misspelt key of a strip": ("strips", [{"dataset": "pairs", "img": "p1"}], ["strips.0.img", "did you mean image?"]),
    "strip of no set": ("strips", [{"image": "p1"}], ["strips.0.dataset: is missing"]),
    "a crop of three numbers": ("strips", [{"dataset": "pairs", "crop": [1, 2, 3]}], ["strips.0.crop"]),
    "a crop of parts": ("strips", [{"dataset": "pairs", "crop": [0, 0, 8, 1.5]}], ["strips.0.crop[3]", "integer"]),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str, pairs: Path, write_options: Write) -> None:
    key, value, parts = MISTAKES[mistake]
    path = write_options(changed(benchmark_options(pairs), key, value))
    line, *remedy = refused(path)
    assert line.startswith(f"{path}: ")
    # What is missing may be left out as well.
    assert all("--incomplete" in more for more in remedy)
    for part in parts:
        assert part in line


def test_a_test_set_needs_ground_truth(pairs: Path, write_options: Write) -> None:
    options = benchmark_options(pairs)
    block = options["datasets"]["test_1"]
    block["type"] = "SingleRestorationDataset"
    del block["dataroot_gt"]
    (line,) = refused(write_options(options))
    assert "datasets.test_1.dataroot_gt: is missing; without GT" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_needs_a_gpu(pairs: Path, write_options: Write) -> None:
    path = write_options(changed(benchmark_options(pairs), "cost.devices", ["cpu", "cuda"]))
    assert refused(path) == [
        f"{path}: cost.devices: cuda needs a GPU and none is found; write auto to use what is there"
    ]


def test_other_runtimes_run_forward_passes_in_float32(pairs: Path, write_options: Write) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    options = benchmark_options(pairs)
    options["cost"].update(runtimes=["pytorch", "onnxruntime"], precisions=["float32", "bfloat16"], devices=["cpu"])
    cases = load_plan(write_options(options)).cases
    assert [(case.mode, case.precision) for case in cases if case.runtime == "onnxruntime"] == [("forward", "float32")]
    options["cost"].update(runtimes=["onnxruntime"], precisions=["bfloat16"])
    (line,) = refused(write_options(options))
    assert line.endswith("cost.runtimes: run forward passes in float32 on the CPU, contiguous, not compiled")


def test_a_runtime_that_is_not_there(pairs: Path, write_options: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_options(changed(benchmark_options(pairs), "cost.runtimes", ["openvino"]))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (line,) = refused(path)
    assert line.endswith("cost.runtimes: openvino needs onnx: pip install 'ramit-basicsr[export,openvino]'")


def test_compiling_needs_a_compiler(pairs: Path, write_options: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_options(changed(benchmark_options(pairs), "cost.compile", [False, True]))
    assert [case.compiled for case in load_plan(path).cases] == [False, True, False, True]
    monkeypatch.setenv("PATH", str(path.parent))
    (line,) = refused(path)
    assert line.startswith(f"{path}: cost.compile: torch.compile needs a C++ compiler")


def test_a_python_tag_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "options.yml"
    path.write_text("scale: 2\nname: !!python/object/apply:os.mkdir [executed]\n")
    (line,) = refused(path)
    assert line.startswith(f"{path}:2: the tag ")
    assert "refused" in line
    assert not (tmp_path / "executed").exists()


def test_a_benchmark_needs_no_data(pairs: Path, write_options: Write) -> None:
    """Cost alone: with networks of ours, which say what they take, and with those of BasicSR."""
    options = benchmark_options(pairs)
    for key in ("datasets", "val", "strips"):
        del options[key]
    plan = load_plan(write_options(options))
    assert (list(plan.datasets), plan.metrics, list(plan.strips)) == ([], {}, [])
    assert len(plan.cases) == 2


def test_a_benchmark_needs_no_cost(pairs: Path, write_options: Write) -> None:
    plan = load_plan(write_options(changed(benchmark_options(pairs), "cost", ...)))
    assert list(plan.cases) == []
    assert (plan.runs, plan.warmup, plan.baseline) == (9, 2, "tiny")


def test_all_combinations_are_cases(pairs: Path, write_options: Write) -> None:
    options = benchmark_options(pairs)
    options["cost"].update(
        precisions=["float32", "tf32", "bfloat16"],
        memory_formats=["contiguous", "channels_last"],
        devices="auto",
        train=[],
    )
    cases = load_plan(write_options(options)).cases
    # num_gpu is 0, so the CPU is what is there, and TF32 is not.
    assert [case.words for case in cases] == [
        "forward 24x16, float32, cpu",
        "forward 24x16, float32, cpu, channels last",
        "forward 24x16, bfloat16, cpu",
        "forward 24x16, bfloat16, cpu, channels last",
    ]


@pytest.mark.parametrize("present", [0, 2])
def test_auto_takes_the_gpu_where_there_is_one(
    present: int, pairs: Path, write_options: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: present)
    plan = load_plan(write_options(benchmark_options(pairs, num_gpu="auto")))
    assert plan.num_gpu == min(present, 1)
    assert {case.device for case in plan.cases} == {"cuda" if present else "cpu"}
    # A file without the option means the same.
    assert load_plan(write_options(changed(benchmark_options(pairs), "num_gpu", ...))).num_gpu == min(present, 1)


def test_names_that_are_taken(pairs: Path, write_options: Write) -> None:
    options = benchmark_options(pairs)
    options["networks"]["bicubic"] = options["networks"]["tiny"]
    assert "networks.bicubic: is what networks are compared with" in refused(write_options(options))[0]
    options = benchmark_options(pairs)
    options["datasets"]["test_2"] = options["datasets"]["test_1"]
    assert "is called so, too, and so are its results" in refused(write_options(options))[0]


def test_all_that_is_missing_is_listed(pairs: Path, tmp_path: Path, write_options: Write) -> None:
    here = save_weights(tmp_path / "wide.pth", "wide")
    options = benchmark_options(pairs, {"tiny": Path("no/tiny.pth"), "wide": here, "plain": Path("no/plain.pth")})
    options["datasets"]["test_2"] = {**options["datasets"]["test_1"], "name": "lost", "dataroot_lq": "no/LQ.lmdb"}
    options["strips"].append({"dataset": "lost"})
    path = write_options(options)
    wanted = [
        "networks.tiny.weights: no/tiny.pth: no such file",
        "networks.plain.weights: no/plain.pth: no such file",
        "datasets.test_2.dataroot_lq: no/LQ.lmdb: no such folder",
    ]
    lines = refused(path)
    assert lines[:-1] == [f"{path}: {line}" for line in wanted]
    assert lines[-1].startswith(f"{path}: ")
    assert "--incomplete" in lines[-1]
    plan = load_plan(path, incomplete=True)
    assert list(plan.missing) == wanted
    # Networks without weights still have a cost.
    assert {network.name: network.weights for network in plan.networks} == {
        "tiny": None,
        "wide": str(here),
        "plain": None,
    }
    assert sets(plan) == ["pairs"]
    assert [strip.dataset for strip in plan.strips] == ["pairs"]
    # Other mistakes stay mistakes.
    lines = refused(write_options(changed(options, "cost.run", 3)), incomplete=True)
    assert len(lines) == 1
    assert "did you mean runs?" in lines[0]


@pytest.mark.parametrize(
    ("only", "wanted"),
    [
        (["tiny"], ["networks.tiny.weights", "datasets.test_2.dataroot_lq"]),
        (["wide", "pairs"], []),
        (["wide", "lost"], ["datasets.test_2.dataroot_lq"]),
        (["wide", "pairs", "quality"], []),
        (["cost"], []),
        (["tiny", "cost"], []),
        (["quality"], ["networks.tiny.weights", "networks.plain.weights", "datasets.test_2.dataroot_lq"]),
    ],
)
def test_only_what_takes_part_is_missed(
    only: list[str], wanted: list[str], pairs: Path, tmp_path: Path, write_options: Write
) -> None:
    here = save_weights(tmp_path / "wide.pth", "wide")
    options = benchmark_options(pairs, {"tiny": Path("no/tiny.pth"), "wide": here, "plain": Path("no/plain.pth")})
    options["datasets"]["test_2"] = {**options["datasets"]["test_1"], "name": "lost", "dataroot_lq": "no/LQ.lmdb"}
    path = write_options(options)
    if not wanted:
        assert load_plan(path, only=only).missing == []
        return
    assert [line.split(": ")[1] for line in refused(path, only=only)[:-1]] == wanted
    if "lost" not in only:  # of a set that is not there, nothing is left to measure
        assert [line.split(": ")[0] for line in load_plan(path, only=only, incomplete=True).missing] == wanted


def test_networks_keep_their_numbers(pairs: Path, write_options: Write) -> None:
    """The number gives the color: it is that of the option file, whoever takes part."""
    path = write_options(benchmark_options(pairs))
    for arguments in ({}, {"only": ["plain"]}, {"forced": ["networks:tiny=none"]}):
        numbers = {network.name: network.number for network in load_plan(path, **arguments).networks}
        assert numbers["plain"] == 2
    assert [network.number for network in load_plan(path).networks] == [0, 1, 2]


def test_nothing_may_be_left_of_the_data(pairs: Path, write_options: Write) -> None:
    options = changed(benchmark_options(pairs), "datasets.test_1.dataroot_gt", "no.lmdb")
    plan = load_plan(write_options(options), incomplete=True)
    assert (sets(plan), list(plan.strips), len(plan.cases)) == ([], [], 2)


ONLY: dict[str, tuple[list[str], dict[str, Any]]] = {
    "nothing": ([], {}),
    "networks": (["wide", "plain"], {"networks": ["wide", "plain"], "baseline": "wide"}),
    "the baseline": (["tiny"], {"networks": ["tiny"]}),
    "a data set": (["more"], {"sets": ["more"], "strips": ["more"]}),
    "quality": (["quality"], {"cases": 0}),
    "cost": (["cost"], {"sets": [], "strips": []}),
    "both": (["cost", "quality"], {}),
    "a set and cost": (["pairs", "cost"], {"sets": [], "strips": []}),
    "a set and quality": (["pairs", "quality"], {"sets": ["pairs"], "strips": ["pairs"], "cases": 0}),
    "a network and a set": (["pairs", "plain"], {"networks": ["plain"], "baseline": "plain", "sets": ["pairs"],
                                                 "strips": ["pairs"]}),
}  # fmt: skip


@pytest.mark.parametrize("kind", ONLY)
def test_only(kind: str, pairs: Path, write_options: Write) -> None:
    only, different = ONLY[kind]
    options = benchmark_options(pairs)
    options["datasets"]["test_2"] = {**options["datasets"]["test_1"], "name": "more"}
    options["strips"].append({"dataset": "more"})
    plan = load_plan(write_options(options), only=only)
    assert {
        "networks": names(plan),
        "baseline": plan.baseline,
        "sets": sets(plan),
        "strips": [strip.dataset for strip in plan.strips],
        "cases": len(plan.cases),
    } == {
        "networks": list(NETWORKS),
        "baseline": "tiny",
        "sets": ["pairs", "more"],
        "strips": ["pairs", "more"],
        "cases": 2,
        **different,
    }


def test_only_what_is_there(pairs: Path, write_options: Write) -> None:
    path = write_options(benchmark_options(pairs))
    assert refused(path, only=["tiny", "wides"]) == [
        f"--only wides: {path} has no such network or data set; did you mean wide?"
    ]


def test_replaced_options(pairs: Path, write_options: Write) -> None:
    path = write_options(benchmark_options(pairs))
    plan = load_plan(path, forced=["networks:wide=none", "cost:runs=21"], limit=3)
    assert names(plan) == ["tiny", "plain"]
    assert (plan.runs, plan.limit) == (21, 3)
    assert list(plan.options["networks"]) == ["tiny", "plain"]
    assert sets(load_plan(path, forced=["datasets:test_1=none"])) == []
    assert replace(load_plan(path), options={}) == replace(load_plan(path, forced=["cost:runs=3"]), options={})
    (line,) = refused(path, forced=["networks:tiny=none", "baseline=tiny"])
    assert "baseline: 'tiny' is not a network of this benchmark" in line
    (line,) = refused(path, forced=["cost:run=3"])
    assert "did you mean runs?" in line


def test_the_baseline_is_left_out(pairs: Path, write_options: Write) -> None:
    path = write_options(benchmark_options(pairs, baseline="wide"))
    assert load_plan(path, only=["plain", "tiny"]).baseline == "tiny"


def test_every_noise_level_is_a_set(pairs: Path, write_options: Write) -> None:
    options = benchmark_options(pairs, scale=1, networks={"gray": {"network_g": {**TINY, "scale": 1, "task": "GDN"}}})
    options["datasets"] = {
        f"test_{i}": {
            "name": name,
            "type": "CleanImageDataset",
            "color": "gray",
            "dataroot_gt": str(pairs / "HR.lmdb"),
            "io_backend": {"type": "lmdb"},
        }
        for i, name in enumerate(("one", "two"))
    }
    options["val"]["sigma"] = [15, 25.5]
    options["strips"] = [{"dataset": "two_sigma15"}]
    path = write_options(options)
    plan = load_plan(path)
    assert sets(plan) == ["one_sigma15", "one_sigma25.5", "two_sigma15", "two_sigma25.5"]
    assert [block["sigma"] for block in plan.datasets] == [15, 25.5] * 2
    assert [strip.dataset for strip in plan.strips] == ["two_sigma15"]
    assert sets(load_plan(path, only=["two_sigma25.5"])) == ["two_sigma25.5"]
    (line,) = refused(write_options(changed(options, "val.sigma", ...)))
    assert "val.sigma: is missing" in line


def test_metrics_are_tried(pairs: Path, write_options: Write) -> None:
    options = benchmark_options(pairs)
    metric = next(iter(options["val"]["metrics"]))
    [line] = refused(write_options(changed(options, f"val.metrics.{metric}.crop_border", 20)))
    assert f"val.metrics.{metric}.crop_border: 20: " in line
