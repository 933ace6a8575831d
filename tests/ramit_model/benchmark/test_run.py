"""A whole benchmark, small and without further processes: what it finds out, and what it does not measure again."""

import csv
import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.archs import build_network
from benchmark_options import NETWORKS, benchmark_options, measure_in_this_process, save_weights
from helpers import TINY, changed, photograph

from datasets_prep.lmdb_writer import write_pairs
from ramit_model.benchmark import published, run
from ramit_model.benchmark.measure import restoring
from ramit_model.benchmark.plan import load_plan
from ramit_model.benchmark.results import Results
from ramit_model.benchmark.run import run_benchmark
from ramit_model.inference.tiling import Tiling
from ramit_model.system.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")

PLAIN, DEEP = NETWORKS["plain"], {**NETWORKS["plain"], "num_block": 2}


class Benchmark:
    """A benchmark in a folder of its own, which may be run again and again."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self.folder, self.options, self.out = folder, options, folder / "out"
        self.started: list[Any] = []

    def run(self, **arguments: Any) -> Results:
        with pytest.MonkeyPatch.context() as monkeypatch:
            self.started = measure_in_this_process(monkeypatch)
            path = self.folder / "options.yml"
            path.write_text(yaml.safe_dump(self.options, sort_keys=False))
            return run_benchmark(load_plan(path, **arguments), self.out)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / "measurements.jsonl").read_text().splitlines()]

    def weights(self, name: str, network_g: dict[str, Any], seed: int = 0) -> str:
        torch.manual_seed(seed)
        torch.save(build_network(dict(network_g)).state_dict(), self.folder / name)
        return str(self.folder / name)


def make(folder: Path, pairs: Path) -> Benchmark:
    """Two networks with weights, one without."""
    made = Benchmark(folder, benchmark_options(pairs, baseline="deep"))
    made.options["networks"] = {
        "plain": {"network_g": PLAIN, "weights": made.weights("plain.pth", PLAIN)},
        "deep": {"network_g": DEEP, "weights": made.weights("deep.pth", DEEP)},
        "tiny": {"network_g": TINY, "published": "RAMiT_x2"},
    }
    return made


@pytest.fixture
def benchmark(tmp_path: Path, pairs: Path) -> Benchmark:
    made = make(tmp_path, pairs)
    made.options["cost"] = {"inputs": [[8, 8]], "runs": 2, "warmup": 0}
    return made


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, pairs: Path) -> tuple[Benchmark, Results]:
    made = make(tmp_path_factory.mktemp("finished"), pairs)
    torch.set_num_threads(1)
    return made, made.run()


def test_networks(finished: tuple[Benchmark, Results]) -> None:
    benchmark, results = finished
    plain, deep, tiny = results.networks
    assert [network.name for network in results.networks] == ["plain", "deep", "tiny"]
    assert plain.weights is not None
    assert plain.weights.path == str(benchmark.folder / "plain.pth")
    assert plain.weights.sha256 == hashlib.sha256((benchmark.folder / "plain.pth").read_bytes()).hexdigest()
    assert (tiny.weights, plain.published) == (None, None)
    assert tiny.published is not None
    assert tiny.network_g == TINY
    assert plain.counts.parameters == sum(p.numel() for p in build_network(dict(PLAIN)).parameters())
    # Of 3x3 convolutions, on 640x360 pixels, from 4 to 4 channels: two more.
    assert deep.counts.mult_adds - plain.counts.mult_adds == 2 * 9 * 4 * 4 * 640 * 360
    assert results.baseline == "deep"


def test_quality(finished: tuple[Benchmark, Results]) -> None:
    _, results = finished
    (found,) = results.datasets
    assert list(found.results) == ["bicubic", "plain", "deep"]
    assert found.reference == "bicubic"
    assert list(found.images) == [f"p{i}" for i in range(9)]
    assert found.image_count == 9
    for result in found.results.values():
        assert list(result.images) == list(found.images)
        for metric in ("psnr", "ssim"):
            column = [values[metric] for values in result.images.values()]
            assert result.average[metric] == pytest.approx(fmean(column))
            assert result.interval[metric].low < result.average[metric] < result.interval[metric].high
        assert (list(result.tiled), list(result.out_of_memory), result.difference) == ([], [], {})
    # What is not trained is worse than no network at all.
    assert found.results["bicubic"].average["psnr"] > found.results["plain"].average["psnr"]
    (comparison,) = found.comparisons
    assert (comparison.first, comparison.second, comparison.images) == ("plain", "deep", 9)
    averages = [found.results[name].average["psnr"] for name in ("plain", "deep")]
    assert comparison.mean_difference == pytest.approx(averages[0] - averages[1])


def test_strips(finished: tuple[Benchmark, Results]) -> None:
    benchmark, results = finished
    (strip,) = results.strips
    assert (strip.dataset, strip.image, strip.crop) == ("pairs", "p1", (4, 8, 24, 16))
    values = results.datasets[0].results
    assert strip.psnr == {name: values[name].images["p1"]["psnr"] for name in ("bicubic", "plain", "deep")}
    assert list(strip.crop_psnr) == ["bicubic", "plain", "deep"]
    picture = cv2.imread(str(benchmark.out / strip.file))
    assert picture is not None
    assert picture.shape[1] > 4 * 24
    assert len(list((benchmark.out / "pictures").iterdir())) == 3


def test_costs(finished: tuple[Benchmark, Results]) -> None:
    _, results = finished
    assert [cost.case.words for cost in results.costs] == [
        "forward 24x16, float32, cpu",
        "train 2 x 16x16, float32, cpu",
    ]
    for cost in results.costs:
        assert list(cost.networks) == ["plain", "deep", "tiny"]
        assert cost.networks["deep"].ratio == 1
        assert all(len(network.seconds) == 3 for network in cost.networks.values())


def test_files(finished: tuple[Benchmark, Results]) -> None:
    benchmark, results = finished
    out = benchmark.out
    for name in ("report.html", "report.md", "report.tex", "results.csv", "results.json", results.strips[0].file):
        assert (out / name).stat().st_size > 0
    read = json.loads((out / "results.json").read_text())
    assert read == json.loads(json.dumps(asdict(results)))
    assert read["versions"]["torch"]
    assert read["machine"]["cores"] >= 1
    assert read["options"] == benchmark.options
    with (out / "results.csv").open() as file:
        assert len(list(csv.reader(file))) > 9 * 3 * 2
    assert {line["kind"] for line in benchmark.lines} == {"quality", "memory", "time"}
    assert len(benchmark.lines) == 9 * 3 + 2 * (3 + 3)


def test_a_second_time_measures_nothing(finished: tuple[Benchmark, Results]) -> None:
    benchmark, results = finished
    before = (benchmark.out / "measurements.jsonl").read_bytes()
    again = benchmark.run()
    assert benchmark.started == []
    assert (benchmark.out / "measurements.jsonl").read_bytes() == before
    assert replace(again, finished=results.finished) == results


# What changed ---------------------------------------------------------------------------------------------------------


def measured(benchmark: Benchmark, before: int) -> list[tuple[str, Any]]:
    """What was measured since there were `before` lines."""
    return [(line["kind"], line.get("image", line.get("network"))) for line in benchmark.lines[before:]]


def test_other_weights(benchmark: Benchmark) -> None:
    first, count = benchmark.run(), len(benchmark.lines)
    benchmark.weights("deep.pth", DEEP, seed=1)
    second = benchmark.run()
    # A file of the same name. Only its quality depends on it.
    assert measured(benchmark, count) == [("quality", f"p{i}") for i in range(9)]
    assert {line["network"] for line in benchmark.lines[count:]} == {"deep"}
    old, new = first.datasets[0].results, second.datasets[0].results
    assert new["deep"] != old["deep"]
    assert [new[name] for name in ("bicubic", "plain")] == [old[name] for name in ("bicubic", "plain")]
    assert second.costs == first.costs
    assert second.strips[0].psnr["deep"] == new["deep"].images["p1"]["psnr"]


def test_another_network(benchmark: Benchmark) -> None:
    benchmark.run()
    count = len(benchmark.lines)
    benchmark.options["networks"]["tiny"]["network_g"] = NETWORKS["wide"]
    benchmark.run()
    assert measured(benchmark, count) == [("memory", "tiny"), ("time", None), ("time", None)]


def test_another_image(benchmark: Benchmark, tmp_path: Path) -> None:
    pictures = [(name, photograph(48, 48, seed=seed)) for seed, name in enumerate("bdf")]
    block = benchmark.options["datasets"]["test_1"]
    benchmark.options["strips"] = []

    def use(folder: str) -> Results:
        write_pairs(iter(pictures), tmp_path / folder, scale=2)
        block["dataroot_gt"] = str(tmp_path / folder / "HR.lmdb")
        block["dataroot_lq"] = str(tmp_path / folder / "LR_bicubic_X2.lmdb")
        return benchmark.run()

    first, count = use("three"), len(benchmark.lines)
    # In between: the numbers of the others change. Another place, too.
    pictures.insert(1, ("c", photograph(40, 48, seed=9)))
    second = use("four")
    assert measured(benchmark, count) == [("quality", "c")] * 3
    assert list(second.datasets[0].images) == ["b", "c", "d", "f"]
    for name, result in first.datasets[0].results.items():
        both = second.datasets[0].results[name].images
        assert {image: both[image] for image in "bdf"} == result.images
    count = len(benchmark.lines)
    # One that was replaced under its name.
    pictures[3] = ("f", photograph(48, 48, seed=10))
    third = use("replaced")
    assert measured(benchmark, count) == [("quality", "f")] * 3
    assert third.datasets[0].results["plain"].images["f"] != second.datasets[0].results["plain"].images["f"]


def test_a_limit(benchmark: Benchmark) -> None:
    results = benchmark.run(limit=3, only=["quality"])
    (found,) = results.datasets
    assert (list(found.images), found.image_count) == (["p0", "p1", "p2"], 9)
    assert all(list(result.images) == list(found.images) for result in found.results.values())
    assert results.costs == []
    count = len(benchmark.lines)
    assert count == 9
    whole = benchmark.run(only=["quality"])
    assert len(whole.datasets[0].images) == 9
    assert len(benchmark.lines) == 27
    assert len({line["key"] for line in benchmark.lines}) == 27


def test_parts(benchmark: Benchmark) -> None:
    cost = benchmark.run(only=["cost", "plain"])
    assert (cost.datasets, cost.strips, cost.baseline) == ([], [], "plain")
    assert [list(case.networks) for case in cost.costs] == [["plain"]]
    results = benchmark.run(only=["quality", "deep"], limit=2)
    assert list(results.datasets[0].results) == ["bicubic", "deep"]
    assert list(results.datasets[0].comparisons) == []


# Special cases --------------------------------------------------------------------------------------------------------


def test_two_crops_of_an_image(benchmark: Benchmark) -> None:
    crops = [[0, 0, 16, 16], [20, 8, 24, 16]]
    benchmark.options["strips"] = [{"dataset": "pairs", "image": "p1", "crop": crop} for crop in crops]
    results = benchmark.run(only=["quality"], limit=2)
    assert [list(strip.crop) for strip in results.strips] == crops
    one, other = (cv2.imread(str(benchmark.out / strip.file)) for strip in results.strips)
    assert one.shape != other.shape or (one != other).any()


def test_a_crop_that_is_chosen(benchmark: Benchmark) -> None:
    benchmark.options["strips"] = [{"dataset": "pairs", "image": "p7", "size": 20}]
    (strip,) = benchmark.run(only=["quality"]).strips
    left, top, width, height = strip.crop
    assert (width, height) == (20, 20)
    assert 0 <= left <= 66 - 20
    assert 0 <= top <= 50 - 20


@pytest.mark.parametrize("crop", [[40, 0, 16, 16], [0, 40, 16, 16], [-1, 0, 16, 16], [0, 0, 0, 16]])
def test_a_crop_outside(crop: list[int], benchmark: Benchmark, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark.options["strips"][0]["crop"] = crop
    assert benchmark.run(only=["quality"], limit=2).strips == []
    assert f"strips: crop {crop} is not inside p1, 48x48 pixels" in capsys.readouterr().err


def test_published_figures(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared with on the whole set, measured in the same way."""
    monkeypatch.setitem(published._content()["sets"], "Set5", 9)  # as many as ours has
    benchmark.options["datasets"]["test_1"]["name"] = "Set5"
    benchmark.options["strips"] = []
    benchmark.options["networks"]["plain"]["published"] = "SwinIR-light_x2"
    whole = benchmark.run(only=["quality"])
    result, figures = whole.datasets[0].results["plain"], whole.networks[0].published
    assert figures is not None
    assert result.difference == {
        "psnr": pytest.approx(result.average["psnr"] - figures.sets["Set5"].psnr),
        "ssim": pytest.approx(result.average["ssim"] - figures.sets["Set5"].ssim),
    }
    assert whole.datasets[0].results["deep"].difference == {}
    monkeypatch.setitem(published._content()["sets"], "Set5", 4)
    assert benchmark.run(only=["quality"], limit=4).datasets[0].results["plain"].difference == {}
    monkeypatch.setitem(published._content()["sets"], "Set5", 9)
    benchmark.options["val"]["metrics"]["psnr"]["crop_border"] = 3
    assert benchmark.run(only=["quality"]).datasets[0].results["plain"].difference == {}


def test_images_without_memory(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are listed, and left out of averages and comparisons; the strip has what there is."""
    restoration = restoring._restoration

    def limited(task: restoring.Task) -> restoring.Restoration:
        restore = restoration(task)
        seen: list[int] = []

        def run(lq: torch.Tensor, tiling: Tiling) -> torch.Tensor:
            seen.append(1)
            if task.network == "deep" and len(seen) in (2, 4):
                raise torch.OutOfMemoryError("CUDA out of memory")
            return restore(lq, tiling)

        return run

    monkeypatch.setattr(restoring, "_restoration", limited)
    results = benchmark.run(only=["quality"], limit=5)
    (found,) = results.datasets
    deep = found.results["deep"]
    assert list(deep.out_of_memory) == ["p1", "p3"]
    assert list(deep.images) == ["p0", "p2", "p4"]
    assert deep.average["psnr"] == pytest.approx(fmean(values["psnr"] for values in deep.images.values()))
    assert [comparison.images for comparison in found.comparisons] == [3]
    assert list(results.strips[0].psnr) == ["bicubic", "plain"]


def test_no_image_fits(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(restoring, "measure", broken)
    results = benchmark.run(only=["quality"], limit=2)
    assert {name: result.average for name, result in results.datasets[0].results.items()} == {
        "bicubic": {},
        "plain": {},
        "deep": {},
    }
    assert (benchmark.out / "report.html").is_file()


def test_gray_noise(benchmark: Benchmark, pairs: Path) -> None:
    """Denoising: the input is the reference, pictures have one channel."""
    network = {"type": "SRVGGNetCompact", "num_in_ch": 1, "num_out_ch": 1, "num_feat": 4, "num_conv": 1, "upscale": 1}
    benchmark.options.update(scale=1, baseline="net")
    benchmark.options["networks"] = {"net": {"network_g": network, "weights": benchmark.weights("gray.pth", network)}}
    benchmark.options["datasets"]["test_1"] = {
        "name": "gray",
        "type": "CleanImageDataset",
        "color": "gray",
        "dataroot_gt": str(pairs / "HR.lmdb"),
        "io_backend": {"type": "lmdb"},
    }
    benchmark.options["val"]["sigma"] = [15, 50]
    benchmark.options["val"]["metrics"] = {"psnr": {"type": "calculate_psnr", "crop_border": 0}}
    benchmark.options["strips"] = [{"dataset": "gray_sigma50", "image": "p1", "crop": [0, 0, 16, 16]}]
    results = benchmark.run(limit=2)
    assert [found.name for found in results.datasets] == ["gray_sigma15", "gray_sigma50"]
    low, high = (found.results["input"].average["psnr"] for found in results.datasets)
    # PSNR of noise of that level, less for what is clipped.
    assert low == pytest.approx(20 * np.log10(255 / 15), abs=0.5)
    assert high == pytest.approx(20 * np.log10(255 / 50), abs=1.5)
    assert list(results.strips[0].psnr) == ["input", "net"]


def test_what_cannot_be_counted(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no meta kernel\nfor this")

    monkeypatch.setattr(run, "count", broken)
    monkeypatch.setattr(run, "count_by_running", broken)
    results = benchmark.run(only=["cost", "plain"])
    counts = results.networks[0].counts
    assert (counts.mult_adds, counts.activations) == (None, None)
    assert counts.parameters == sum(p.numel() for p in build_network(dict(PLAIN)).parameters())
    assert "plain: Mult-Adds cannot be counted: no meta kernel\n" in capsys.readouterr().err


def test_what_was_not_there(benchmark: Benchmark) -> None:
    benchmark.options["networks"]["plain"]["weights"] = "no/plain.pth"
    results = benchmark.run(incomplete=True, limit=2)
    assert list(results.notes) == ["networks.plain.weights: no/plain.pth: no such file"]
    assert list(results.datasets[0].results) == ["bicubic", "deep"]
    assert list(results.costs[0].networks) == ["plain", "deep", "tiny"]


def test_options_that_a_network_of_basicsr_cannot_use_are_one_line(benchmark: Benchmark) -> None:
    benchmark.options["networks"]["deep"] = {"network_g": {"type": "MSRResNet", "upscale": 2, "num_feat": "wide"}}
    with pytest.raises(InputError, match=r"options\.yml: networks\.deep: network_g\.num_feat: 'wide': ") as caught:
        benchmark.run(limit=2)
    assert "\n" not in caught.value.line


def test_weights_that_do_not_fit_are_one_line(benchmark: Benchmark) -> None:
    benchmark.options["networks"]["deep"]["weights"] = str(save_weights(benchmark.folder / "wrong.pth"))
    with pytest.raises(InputError) as caught:
        benchmark.run(limit=2)
    assert caught.value.line.startswith(str(benchmark.folder / "wrong.pth"))
    # Before hours of work.
    assert benchmark.lines == []


def test_no_two_at_a_time(benchmark: Benchmark) -> None:
    benchmark.run(only=["cost", "plain"])
    with (
        run.Measurements(benchmark.out / "measurements.jsonl"),
        pytest.raises(InputError, match="another benchmark is writing here"),
    ):
        benchmark.run(only=["cost", "plain"])


def test_options_are_not_changed(benchmark: Benchmark) -> None:
    results = benchmark.run(only=["quality"], limit=1)
    assert results.options == benchmark.options
    assert results.options != changed(benchmark.options, "scale", 3)
