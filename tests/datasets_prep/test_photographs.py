"""The embedded set for all tasks: what is written, and how images are degraded."""

from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest
from helpers import photograph
from numpy.typing import NDArray

from datasets_prep.bicubic import downscale
from datasets_prep.checking import check
from datasets_prep.demo_set import VALIDATION_CROPS
from datasets_prep.image_files import Treatment, decode
from datasets_prep.photographs import DEGRADED, GRID, MULTIPLE, NOISE, darkened, prepare_photographs, rained
from ramit_model.cli import main


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets") / "photographs"
    prepare_photographs(folder)
    return folder


def images(path: Path) -> dict[str, NDArray[np.uint8]]:
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return {key.decode(): decode(bytes(value), Treatment()).image for key, value in transaction.cursor()}


def test_every_part_is_whole(out: Path) -> None:
    found = list(check(out, 1))
    assert sorted(str(checked.path.relative_to(out)) for checked in found) == sorted(
        f"{part}/{name}.lmdb" for part in ("train", "val") for name in DEGRADED
    )
    assert [checked.problems for checked in found] == [[]] * len(found)
    assert {checked.entries for checked in found if "val" in checked.path.parts} == {len(VALIDATION_CROPS)}


@pytest.mark.parametrize("part", ["train", "val"])
def test_lq_images_are_those_of_the_clean_ones(out: Path, part: str) -> None:
    clean = images(out / part / "HR.lmdb")
    for scale in (2, 3, 4):
        reduced = images(out / part / f"LR_bicubic_X{scale}.lmdb")
        assert reduced.keys() == clean.keys()
        for key, image in clean.items():
            np.testing.assert_array_equal(reduced[key], downscale(image, scale))
    for name, degrade in (("dark", darkened), ("rainy", rained)):
        for key, image in images(out / part / f"{name}.lmdb").items():
            np.testing.assert_array_equal(image, degrade(clean[key], key))


def test_sizes(out: Path) -> None:
    assert {image.shape for image in images(out / "train/HR.lmdb").values()} == {(GRID.crop_size, GRID.crop_size, 3)}
    for key, image in images(out / "val/HR.lmdb").items():
        wanted = [side - side % MULTIPLE for side in VALIDATION_CROPS[key][2:]]
        assert list(image.shape[:2]) == wanted


def test_what_is_there_is_kept(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.rglob("data.mdb")}
    assert main(["prepare", "photographs", "--out", str(out.parent)]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: train and val, each with HR,")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("data.mdb")} == before


def test_a_file_in_the_way_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photographs").touch()
    assert main(["prepare", "photographs", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("degrade", [darkened, rained])
def test_the_key_alone_decides(degrade: Callable[[NDArray[np.uint8], str], NDArray[np.uint8]]) -> None:
    image = photograph(40, 52)
    first = degrade(image, "a")
    np.testing.assert_array_equal(degrade(image, "a"), first)
    assert not np.array_equal(degrade(image, "b"), first)
    assert first.dtype == np.uint8
    assert first.shape == image.shape


@pytest.mark.parametrize("level", [64, 255])
def test_darkness(level: int) -> None:
    dark = darkened(np.full((80, 90, 3), level, np.uint8), "key").astype(float)
    assert 0.1 * 255 * (level / 255) ** 1.5 - 1 < dark.mean() < 0.3 * 255 * (level / 255) ** 1.5 + 1
    if level == 255:  # nothing is clipped
        assert dark.std() == pytest.approx(NOISE, rel=0.05)


def test_rain_only_brightens_and_is_gray() -> None:
    image = np.full((80, 90, 3), 50, np.uint8)
    rainy = rained(image, "key")
    assert (rainy >= image).all()
    assert (rainy == rainy[..., :1]).all()
    assert 0.005 < (rainy > image + 2).mean() < 0.4
