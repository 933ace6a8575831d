"""BasicSR's data sets with messages that name the file."""

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from helpers import photograph

from datasets_prep.bicubic import downscale
from ramit_model.errors import InputError
from ramit_model.image_datasets import PairedRestorationDataset, SingleRestorationDataset


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for folder in ("gt", "lq"):
        (tmp_path / folder).mkdir()
    for i in range(3):
        image = photograph(40, 48, seed=i)
        cv2.imwrite(str(tmp_path / f"gt/{i}.png"), image)
        cv2.imwrite(str(tmp_path / f"lq/{i}.png"), downscale(image, 2))
    return tmp_path


def paired(root: Path, **changes: Any) -> PairedRestorationDataset:
    options = {
        "name": "mine",
        "phase": "train",
        "scale": 2,
        "dataroot_gt": str(root / "gt"),
        "dataroot_lq": str(root / "lq"),
        "io_backend": {"type": "disk"},
        "gt_size": 32,
        "use_hflip": True,
        "use_rot": True,
    }
    return PairedRestorationDataset({**options, **changes})


def test_items_are_basicsrs(folders: Path) -> None:
    item = paired(folders, phase="val")[1]
    assert Path(item["gt_path"]).name == Path(item["lq_path"]).name == "1.png"
    image = cv2.cvtColor(cv2.imread(item["gt_path"]), cv2.COLOR_BGR2RGB)
    torch.testing.assert_close(item["gt"], torch.from_numpy(image / 255.0).permute(2, 0, 1).float())


def test_patches_match(folders: Path) -> None:
    dataset = paired(folders)
    for index in range(3):
        item = dataset[index]
        assert item["lq"].shape == (3, 16, 16)
        # The LQ patch is the GT patch, shrunk: away from the border they agree.
        gt = (item["gt"].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        shrunk = downscale(gt, 2)[4:-4, 4:-4] / 255.0
        np.testing.assert_allclose(shrunk, item["lq"].permute(1, 2, 0).numpy()[4:-4, 4:-4], atol=0.01)


def test_order_is_by_name(folders: Path) -> None:
    names = [Path(pair["gt_path"]).name for pair in paired(folders).paths]
    assert names == sorted(names)


def damage(kind: str, root: Path) -> None:
    path = root / "lq/1.png"
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("no picture")
    elif kind == "size":
        cv2.imwrite(str(path), photograph(20, 23))
    elif kind == "gone":
        path.unlink()


@pytest.mark.parametrize("kind", ["cut", "empty", "text", "size"])
@pytest.mark.parametrize("phase", ["train", "val"])
def test_a_bad_image_is_named(folders: Path, kind: str, phase: str) -> None:
    damage(kind, folders)
    dataset = paired(folders, phase=phase)
    with pytest.raises(InputError, match=r"data set mine: .*1\.png") as caught:
        dataset[1]
    assert "\n" not in caught.value.line
    dataset[0]


@pytest.mark.parametrize("workers", [1])
def test_the_line_comes_through_a_worker(folders: Path, workers: int) -> None:
    damage("cut", folders)
    with pytest.raises(InputError) as caught:
        list(torch.utils.data.DataLoader(paired(folders), num_workers=workers))
    assert caught.value.line.startswith("data set mine: ")
    assert caught.value.line.endswith("replace or remove it (and its pair)")


def test_an_image_smaller_than_the_patch(folders: Path) -> None:
    with pytest.raises(InputError, match="smaller than gt_size 64"):
        paired(folders, gt_size=64)[0]


def test_missing_partner(folders: Path) -> None:
    damage("gone", folders)
    with pytest.raises(InputError, match=r"do not pair up: .*gt/1\.png has no partner;"):
        paired(folders)


def test_missing_folder(folders: Path) -> None:
    with pytest.raises(InputError, match="No such file or directory"):
        paired(folders, dataroot_lq=str(folders / "nowhere"))


def test_empty_folders(folders: Path) -> None:
    for folder in ("gt", "lq"):
        shutil.rmtree(folders / folder)
        (folders / folder).mkdir()
    with pytest.raises(InputError, match="no image"):
        paired(folders)


def test_lmdb_with_other_keys(pairs: Path, tmp_path: Path) -> None:
    shutil.copytree(pairs, tmp_path / "copy")
    meta = tmp_path / "copy/HR.lmdb/meta_info.txt"
    meta.write_text(meta.read_text().replace("p3.png", "p33.png"))
    roots = {"dataroot_gt": str(tmp_path / "copy/HR.lmdb"), "dataroot_lq": str(tmp_path / "copy/LR_bicubic_X2.lmdb")}
    with pytest.raises(InputError, match=r"entry p3 has no partner \(and 1 more\)"):
        paired(tmp_path, io_backend={"type": "lmdb"}, **roots)
    lq_meta = tmp_path / "copy/LR_bicubic_X2.lmdb/meta_info.txt"
    lq_meta.write_text(lq_meta.read_text().replace("p3.png", "p33.png"))
    dataset = paired(tmp_path, io_backend={"type": "lmdb"}, **roots)
    index = next(i for i, pair in enumerate(dataset.paths) if pair["gt_path"] == "p33")
    with pytest.raises(InputError, match="entry p33"):
        dataset[index]


def test_single_images(folders: Path) -> None:
    options = {"name": "photos", "dataroot_lq": str(folders / "lq"), "io_backend": {"type": "disk"}}
    assert SingleRestorationDataset(dict(options, io_backend={"type": "disk"}))[0]["lq"].shape == (3, 20, 24)
    damage("cut", folders)
    with pytest.raises(InputError, match=r"1\.png"):
        SingleRestorationDataset(options)[1]
