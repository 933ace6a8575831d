"""Option files with folders of photos: what a validation takes over from the training; mistakes end in one line."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import pytest
from helpers import TINY, changed, check_refused, photograph, testing_options, training_options

from ramit_model.config.options import load_options


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("photos", "dark"):
        (tmp_path / folder).mkdir()
        for name in "abc":
            cv2.imwrite(str(tmp_path / f"{folder}/{name}.png"), photograph(40, 40, seed=ord(name)))
    return tmp_path


def options(root: Path, **changes: Any) -> dict[str, Any]:
    """Options of a tiny training on photos, x2."""
    made = training_options(root, **changes)
    train = made["datasets"]["train"]
    for key in ("io_backend", "dataroot_lq", "dataset_enlarge_ratio"):
        del train[key]
    train |= {"type": "PhotoDataset", "dataroot_gt": str(root / "photos")}
    made["datasets"]["val"] = {"name": "held_out", "type": "PhotoDataset", "crop": 12}
    return made


def denoising(root: Path) -> dict[str, Any]:
    made = options(root, scale=1, network_g={**TINY, "scale": 1, "task": "CDN"})
    made["datasets"]["train"]["sigma"] = [0, 50]
    made["val"]["sigma"] = [15, 25]
    return made


def test_a_validation_without_a_folder_takes_what_the_training_holds_out(
    root: Path, write_options: Callable[..., Path]
) -> None:
    given = options(root)
    given["datasets"]["train"] |= {"shrink": 1, "cache_gb": 3}
    loaded = load_options(write_options(given), is_train=True)["datasets"]
    assert loaded["train"] == {**given["datasets"]["train"], "held_out": "tenth"}
    photos = {"dataroot_gt": str(root / "photos"), "shrink": 1, "held_out": "tenth", "gt_size": 32}
    assert loaded["val"] == {"name": "held_out", "type": "PhotoDataset", "crop": 12, **photos}


def test_photos_too_small_for_any_stage_validate_neither(root: Path, write_options: Callable[..., Path]) -> None:
    given = options(root)
    for key in ("gt_size", "batch_size_per_gpu"):
        del given["datasets"]["train"][key]
    given["train"]["progressive"] = {"iters": [4, 4], "patch_sizes": [8, 16], "batch_sizes": [4, 2]}
    assert load_options(write_options(given), is_train=True)["datasets"]["val"]["gt_size"] == 32


def test_noise_levels_of_a_validation(root: Path, write_options: Callable[..., Path]) -> None:
    given = denoising(root)
    loaded = load_options(write_options(given), is_train=True)["datasets"]
    assert {block["name"]: block.get("sigma") for block in loaded.values()} == {
        "pairs": [0, 50],
        "held_out_sigma15": 15,
        "held_out_sigma25": 25,
    }


def test_pairs_get_no_noise(root: Path, write_options: Callable[..., Path]) -> None:
    given = denoising(root)
    del given["datasets"]["train"]["sigma"]
    given["datasets"]["train"] |= {"dataroot_lq": str(root / "dark"), "held_out": 2}
    loaded = load_options(write_options(given), is_train=True)["datasets"]
    assert list(loaded) == ["train", "val"]
    assert (loaded["val"]["dataroot_lq"], loaded["val"]["held_out"]) == (str(root / "dark"), 2)


@pytest.mark.parametrize("val", [None, {"name": "dark", "type": "PhotoDataset"}])
def test_nothing_is_held_out_for_nobody(root: Path, write_options: Callable[..., Path], val: Any) -> None:
    given = options(root)
    given["datasets"]["val"] = val and {**val, "dataroot_gt": str(root / "dark")}
    loaded = load_options(write_options(given), is_train=True)["datasets"]
    assert loaded["train"]["held_out"] == 0
    assert val is None or loaded["val"] == given["datasets"]["val"]


def test_a_test_on_photos(root: Path, write_options: Callable[..., Path]) -> None:
    given = testing_options(root)
    given["datasets"] = {"test": {"name": "mine", "type": "PhotoDataset", "dataroot_gt": str(root / "photos")}}
    assert load_options(write_options(given), is_train=False)["datasets"] == given["datasets"]


MISTAKES = {
    "no such folder": (
        "datasets.train.dataroot_gt",
        "nowhere",
        ["datasets.train.dataroot_gt: nowhere: no such folder"],
    ),
    "no folder": ("datasets.train.dataroot_gt", ..., ["datasets.train.dataroot_gt", "missing"]),
    "noise at x2": ("datasets.train.sigma", [0, 50], ["datasets.train.sigma: adds no noise", "at scale 2"]),
    "LMDB": ("datasets.train.io_backend", {"type": "lmdb"}, ["io_backend"]),
    "nothing held out": ("datasets.train.held_out", 0, ["datasets.val: datasets.train holds no photo out", "val: ~"]),
    "half held out": (
        "datasets.train.held_out",
        "half",
        ["held_out: must be tenth, or a number from 0 up, not 'half'"],
    ),
    "shrunk to nothing": ("datasets.train.shrink", 0, ["datasets.train.shrink"]),
    "misspelt": ("datasets.train.heldout", 1, ["datasets.train.heldout", "did you mean held_out?"]),
    "patch and scale": ("datasets.train.gt_size", 33, ["datasets.train.gt_size", "multiple of scale"]),
    "two ways to read a photo": ("datasets.val.shrink", 2, ["datasets.val.shrink: is not that of datasets.train"]),
    "cache": ("datasets.train.cache_gb", -1, ["datasets.train.cache_gb"]),
    "crop of nothing": ("datasets.val.crop", 0, ["datasets.val.crop"]),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str, root: Path, write_options: Callable[..., Path]) -> None:
    key, value, parts = MISTAKES[mistake]
    check_refused(write_options(changed(options(root), key, value)), parts)


NOISE_MISTAKES = {
    "no noise": ("datasets.train.sigma", ..., ["datasets.train.sigma: is missing; or give LQ images by dataroot_lq"]),
    "limits": ("datasets.train.sigma", [50, 0], ["datasets.train.sigma", "swap them"]),
    "one level": ("datasets.train.sigma", 25, ["datasets.train.sigma"]),
    "no levels": ("val.sigma", ..., ["val.sigma: is missing", "held_out"]),
    "noise on pairs": ("datasets.train.dataroot_lq", "dark", ["sigma: adds no noise, for LQ images are given"]),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("mistake", NOISE_MISTAKES)
def test_mistakes_with_noise(
    mistake: str, root: Path, write_options: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    key, value, parts = NOISE_MISTAKES[mistake]
    check_refused(write_options(changed(denoising(root), key, value)), parts)


@pytest.mark.bad_input
def test_no_training_to_take_photos_from(root: Path, pairs: Path, write_options: Callable[..., Path]) -> None:
    given = training_options(pairs)
    given["datasets"]["val"] = {"name": "held_out", "type": "PhotoDataset"}
    check_refused(write_options(given), ["datasets.val.dataroot_gt: is missing; datasets.train is no PhotoDataset"])
    given = options(root)
    given["datasets"]["train"] |= {"dataroot_lq": str(root / "dark"), "meta_info_file": __file__}
    check_refused(write_options(given), ["meta_info_file: PhotoDataset knows none for pairs"])


def test_blocks_that_are_no_blocks(root: Path, write_options: Callable[..., Path]) -> None:
    """They are refused by the schema, not by what comes before it."""
    for value in (3, "x", [1]):
        check_refused(write_options({**deepcopy(options(root)), "datasets": value}), ["datasets"])
        check_refused(write_options(changed(options(root), "datasets.val", value)), ["datasets.val"])
        check_refused(write_options(changed(options(root), "datasets.train", value)), ["datasets.train"])
