"""The embedded image set: photographs and their LR images, made once."""

from pathlib import Path

import lmdb
import numpy as np
import pytest

from datasets_prep.bicubic import downscale
from datasets_prep.checking import check
from datasets_prep.demo_set import GRID, SCALE, TRAIN_IMAGES, VALIDATION_CROPS, photograph, prepare_demo_set
from datasets_prep.image_files import Treatment, decode


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    prepare_demo_set(folder)
    return folder


def images(path: Path) -> dict[str, np.ndarray]:
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return {key.decode(): decode(bytes(value), Treatment()).image for key, value in transaction.cursor()}


def test_every_part_is_whole(demo: Path) -> None:
    found = list(check(demo, 1))
    assert [str(checked.path.relative_to(demo)) for checked in found] == [
        f"{part}/{name}.lmdb" for part in ("train", "val") for name in ("HR", "LR_bicubic_X2")
    ]
    assert [checked.problems for checked in found] == [[]] * 4
    assert found[0].entries == found[1].entries > 5 * len(TRAIN_IMAGES)


def test_sub_images_for_training_are_those_of_the_grid(demo: Path) -> None:
    train = images(demo / "train/HR.lmdb")
    assert {image.shape for image in train.values()} == {(GRID.crop_size, GRID.crop_size, 3)}
    assert {key.rsplit("_s", 1)[0] for key in train} == set(TRAIN_IMAGES)
    whole = photograph("astronaut")
    boxes = GRID.boxes(*whole.shape[:2])
    assert sum(key.startswith("astronaut_s") for key in train) == len(boxes)
    top, left, height, width = boxes[-1]
    last = train[f"astronaut_s{len(boxes):03}"]
    np.testing.assert_array_equal(last, whole[top : top + height, left : left + width])


def test_crops_for_validation(demo: Path) -> None:
    hr = images(demo / "val/HR.lmdb")
    assert {key: image.shape for key, image in hr.items()} == {
        name: (height, width, 3) for name, (_, _, height, width) in VALIDATION_CROPS.items()
    }


@pytest.mark.parametrize("part", ["train", "val"])
def test_lr_images_are_bicubic(demo: Path, part: str) -> None:
    hr, lr = images(demo / part / "HR.lmdb"), images(demo / part / f"LR_bicubic_X{SCALE}.lmdb")
    assert hr.keys() == lr.keys()
    for key in list(hr)[::10]:
        np.testing.assert_array_equal(lr[key], downscale(hr[key], SCALE))


def test_what_is_there_stays(demo: Path) -> None:
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in demo.rglob("*")}

    before = state()
    prepare_demo_set(demo)
    assert state() == before
