"""Recorded curves: which trainings they are for, and that those of the option files here are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import REPOSITORY, changed, training_options

from ramit_model.config import checks, expectations, trials
from ramit_model.config.expectations import expected_curve, fingerprint_of, recorded_curves
from ramit_model.config.options import load_options
from ramit_model.training.expectation import Expected

ROWS = [[4, "pairs", "psnr", 20.0, 0.5], [8, "pairs", "psnr", 21.0, 0.25]]


@pytest.fixture
def recorded(
    pairs: Path, tmp_path: Path, write_options: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[Expected]]:
    """Curve that options of a tiny training get, changed here and there, where that of the unchanged ones is known."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    options = training_options(pairs)
    (tmp_path / "recipes").mkdir()
    monkeypatch.setattr(expectations, "recipe_folder", lambda: tmp_path / "recipes")
    fingerprint = fingerprint_of(load_options(write_options(options), is_train=True))
    text = json.dumps({"tiny": {"options": fingerprint, "seeds": [0], "curve": ROWS}})
    (tmp_path / "recipes/expected.json").write_text(text, encoding="utf-8")

    def load(key: str = "name", value: Any = "tiny") -> list[Expected]:
        return load_options(write_options(changed(options, key, value)), is_train=True).get("expected", [])

    return load


def test_the_same_options(recorded: Callable[..., list[Expected]]) -> None:
    assert recorded() == [Expected(*row) for row in ROWS]
    assert recorded_curves() == {"tiny": [Expected(*row) for row in ROWS]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "mine"),
        ("manual_seed", 5),
        ("num_gpu", "auto"),
        ("datasets.train.num_worker_per_gpu", 1),
        ("datasets.train.pin_memory", False),
        ("logger.print_freq", 3),
    ],
)
def test_options_that_change_no_result(key: str, value: Any, recorded: Callable[..., list[Expected]]) -> None:
    assert recorded(key, value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.total_iter", 9),
        ("train.optim_g.lr", 0.002),
        ("datasets.train.batch_size_per_gpu", 4),
        ("datasets.train.gt_size", 64),
        ("datasets.val.name", "other"),
        ("val.metrics.psnr.crop_border", 1),
        ("network_g.variant", "RAMiT-1"),
    ],
)
def test_options_that_do(key: str, value: Any, recorded: Callable[..., list[Expected]]) -> None:
    assert recorded(key, value) == []


def test_the_batch_of_all_processes_counts(
    recorded: Callable[..., list[Expected]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not recorded()
    assert recorded("datasets.train.batch_size_per_gpu", 1)


def test_no_recorded_curves(tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expectations, "recipe_folder", lambda: tmp_path)
    assert expected_curve(training_options(pairs)) == []


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("options/check_*.yml")), ids=lambda path: path.stem)
def test_every_check_has_its_curve(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If an option was changed, or a new one has come, `python tests/record_curves.py` measures again."""
    monkeypatch.setattr(checks, "_check_dataroot", lambda *_: None)
    monkeypatch.setattr(trials, "_smallest_image", lambda *_: None)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    options = load_options(path, is_train=True)
    every, last = options["val"]["val_freq"], options["train"]["total_iter"]
    assert [row[:3] for row in options["expected"]] == [
        (iteration, "photographs", metric)
        for iteration in range(every, last + 1, every)
        for metric in options["val"]["metrics"]
    ]
    assert options["expected"] == recorded_curves()[path.stem]
