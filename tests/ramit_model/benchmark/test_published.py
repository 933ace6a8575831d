"""The file of published figures against the recorded ones, and what may be compared with it."""

import copy
import re
from typing import Any

import pytest
import yaml
from helpers import REPOSITORY, recorded

from ramit_model.benchmark.published import FILE, at_scale, comparable, differences, load, names
from ramit_model.benchmark.results import PublishedSet

CONTENT = yaml.safe_load(FILE.read_text(encoding="utf-8"))
COMPLEXITY, METRICS = recorded("complexity"), recorded("published_metrics")
SETS = {"Set5": 5, "Set14": 14, "BSD100": 100, "Urban100": 100, "Manga109": 109}


LATER = {
    *(f"{name}_x{scale}" for scale in (2, 4) for name in ("OmniSR", "SRFormer-light", "MambaIR-light", "HiT-SIR")),
    *(f"{name}_x{scale}" for scale in (2, 4) for name in ("HiT-SRF", "HiT-SRF-DF2K", "CATANet", "ASID-D8")),
    *(f"{name}_x{scale}" for scale in (2, 4) for name in ("MambaIRv2-light", "ATD-light", "ESC-light", "ESC")),
    *(f"{name}_x{scale}" for scale in (2, 4) for name in ("ESC-DFLIP", "PFT-light", "SMFANet+", "SMFANet+-DF2K")),
    *(f"{name}_x{scale}" for scale in (2, 4) for name in ("LaST-SR", "SFMformer")),
    *("HiT-SRF_x3", "ATD-light_x3", "PFT-light_x3", "ESC_x3", "EMT_x4", "DCTLSA_x4"),
}
"""Networks of 2023 to 2026, whose tables were read elsewhere than in their papers."""


def metrics_of(recipe: str) -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "options" / f"test_{recipe}.yml").read_text())["val"]["metrics"]


# The file -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONTENT["networks"])
def test_form(name: str) -> None:
    entry = CONTENT["networks"][name]
    notes = {"counts_note", "training", "doubt"}
    assert [key for key in entry if key not in notes] == ["source", "parameters", "mult_adds", "sets"]
    assert ("counts_note" in entry) == name.startswith(("SwinIR-light", "CATANet", "ATD-light", "EMT", "DCTLSA"))
    assert ("training" in entry) == (name in LATER)
    assert re.fullmatch(r"\S+_(x[234]|CDN|GDN|LLE|DR)", name)
    assert len(entry["source"].split()) > 2
    assert not entry.get("doubt", "").endswith(".")
    if name not in LATER or entry["parameters"] is not None:
        assert type(entry["parameters"]) is int
        assert 1e5 < entry["parameters"] < 1e7
    if name not in LATER or entry["mult_adds"] is not None:
        assert type(entry["mult_adds"]) is float
        assert 1e10 < entry["mult_adds"] < 1e12
    assert set(entry["sets"]) <= set(SETS)
    for psnr, ssim in entry["sets"].values():
        assert 20 < psnr < 45
        assert 0.7 < ssim < 1


def test_whole_file() -> None:
    assert list(CONTENT) == ["protocol", "sets", "networks"]
    assert CONTENT["sets"] == SETS
    others = {f"{network}_x{scale}" for network in ("SwinIR-light", "NGswin", "SwinIR-NG") for scale in (2, 3, 4)}
    assert set(names()) == set(COMPLEXITY) | others | LATER
    some = {f"ASID-D8_x{scale}": set(SETS) - {"Manga109"} for scale in (2, 4)}
    some |= {name: {"Urban100"} for name in ("EMT_x4", "DCTLSA_x4")}
    assert all(set(load()[name].sets) == some.get(name, set(SETS)) for name in others | LATER)
    # The RAMiT paper's tables are not included.
    ramit = {name: set(load()[name].sets) for name in names() if name.startswith("RAMiT")}
    assert {name: sets for name, sets in ramit.items() if sets} == {"RAMiT-1_x2": {"Set5"}, "RAMiT-slimSR_x4": {"Set5"}}


@pytest.mark.parametrize("name", COMPLEXITY)
def test_counts_are_the_recorded_ones(name: str) -> None:
    published, record = load()[name], COMPLEXITY[name]
    assert published.parameters == record["params"]
    expected = record["multadds_1280x720_hr"]
    # The paper on NGswin rounds to hundredths of G.
    assert published.mult_adds == (round(expected / 1e9, 2) * 1e9 if name.startswith("NGswin") else expected)


def test_results_of_whole_sets_are_the_recorded_ones() -> None:
    whole = {key.removesuffix(" Set5"): value["average"] for key, value in METRICS.items() if key.endswith(" Set5")}
    assert {name: load()[name].sets["Set5"] for name in whole} == {
        name: PublishedSet(average["psnr"], average["ssim"]) for name, average in whole.items()
    }


def test_literal_figures() -> None:
    ngswin = load()["NGswin_x4"]
    assert (ngswin.parameters, ngswin.mult_adds) == (1019156, 36.44e9)
    assert ngswin.sets["Manga109"] == PublishedSet(30.80, 0.9128)
    assert "arXiv 2211.11436" in ngswin.source
    swinir = load()["SwinIR-light_x2"]
    assert (swinir.parameters, swinir.mult_adds) == (878000, 195.6e9)
    assert swinir.sets["Set5"] == PublishedSet(38.14, 0.9611)


def test_what_is_known_of_the_origin() -> None:
    esc = load()["ESC_x2"]
    assert (esc.parameters, esc.mult_adds, esc.training, esc.doubt) == (947_000, 592e9, "DIV2K", None)
    assert esc.sets["Urban100"] == PublishedSet(33.46, 0.9395)
    assert load()["HiT-SRF-DF2K_x4"].training == "DF2K"
    assert "ablations state DF2K" in (load()["SFMformer_x2"].doubt or "")
    catanet = load()["CATANet_x4"]
    assert (catanet.parameters, catanet.mult_adds) == (535_000, None)
    assert "another input size" in (catanet.counts_note or "")
    assert load()["PFT-light_x3"].sets["Urban100"] == PublishedSet(29.46, 0.8763)


def test_networks_of_one_scale() -> None:
    names_at_3 = {name.removesuffix("_x3") for name in names() if name.endswith("_x3")}
    assert set(at_scale(3)) == names_at_3
    assert at_scale(3)["ESC"] is load()["ESC_x3"]
    assert at_scale(1) == {}


def test_is_read_once_and_cannot_be_changed() -> None:
    assert load() is load()
    with pytest.raises(TypeError):
        load()["new"] = load()["NGswin_x2"]


# What may be compared -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_recipes_measure_as_published(scale: int) -> None:
    metrics = metrics_of(f"RAMiT_x{scale}")
    assert all(comparable(name, count, metrics, scale) for name, count in SETS.items())
    assert not comparable("Set5", 5, metrics, scale - 1)


@pytest.mark.parametrize(
    ("dataset", "count"),
    [("Set5", 4), ("Set5", 0), ("Set14", 5), ("BSD100", 10), ("Mine", 5), ("Urban100_sigma25", 100), ("set5", 5)],
)
def test_other_images(dataset: str, count: int) -> None:
    assert not comparable(dataset, count, metrics_of("RAMiT_x2"), 2)


def test_denoising_on_pictures_of_the_same_name() -> None:
    metrics = metrics_of("RAMiT_CDN")
    assert not comparable("Urban100", 100, metrics, 1)
    assert not comparable("Urban100_sigma15", 100, metrics, 1)
    as_if = {"psnr": {"type": "calculate_psnr", "crop_border": 1, "test_y_channel": True}}
    assert not comparable("Urban100", 100, as_if, 1)


@pytest.mark.parametrize("metric", ["psnr", "ssim"])
@pytest.mark.parametrize(
    "change",
    [{"crop_border": 0}, {"crop_border": 4}, {"test_y_channel": False}, {"type": "calculate_psnr_pt"}, {"type": None}],
)
def test_other_protocols(metric: str, change: dict[str, Any]) -> None:
    metrics = copy.deepcopy(metrics_of("RAMiT_x2"))
    metrics[metric].update(change)
    assert not comparable("Set5", 5, metrics, 2)


def test_incomplete_blocks() -> None:
    assert not comparable("Set5", 5, {"psnr": {"type": "calculate_psnr", "crop_border": 2}}, 2)
    assert not comparable("Set5", 5, {"psnr": {"type": "calculate_psnr", "test_y_channel": True}}, 2)


def test_further_and_fewer_metrics_do_not_matter() -> None:
    metrics = metrics_of("RAMiT_x2")
    assert comparable("Set5", 5, {**metrics, "niqe": {"type": "calculate_niqe", "crop_border": 0}}, 2)
    assert comparable("Set5", 5, {"psnr": metrics["psnr"]}, 2)
    assert not comparable("Set5", 5, {"niqe": {"type": "calculate_niqe", "crop_border": 0}}, 2)
    assert not comparable("Set5", 5, {}, 2)


def test_differences() -> None:
    published = PublishedSet(38.0, 0.96)
    assert differences({"psnr": 38.25, "ssim": 0.95, "niqe": 5.0}, published) == pytest.approx(
        {"psnr": 0.25, "ssim": -0.01}
    )
    assert differences({"psnr": 37.0}, published) == {"psnr": -1.0}
