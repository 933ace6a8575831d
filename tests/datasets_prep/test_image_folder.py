"""A folder of one's own images into LMDBs."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import photograph

from datasets_prep.bicubic import downscale
from datasets_prep.demo_set import prepare_demo_set
from datasets_prep.errors import SourceError
from datasets_prep.image_folder import cut_patches, prepare_folder
from ramit_model.cli import main
from ramit_model.demo import _read_lmdb


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in/sub").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "in/a.png"), photograph(50, 71))
    cv2.imwrite(str(tmp_path / "in/sub/b.JPG"), photograph(64, 64, seed=1))
    cv2.imwrite(str(tmp_path / "in/c.bmp"), photograph(48, 90, seed=2)[..., 0])
    (tmp_path / "in/notes.txt").write_text("not an image")
    return tmp_path / "in"


def test_whole_images(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "folder", "--source", str(source), "--out", str(tmp_path / "out"), "--scale", "3"]) == 0
    assert "3 images" in capsys.readouterr().out
    hr, lr = (_read_lmdb(tmp_path / "out" / name) for name in ("HR.lmdb", "LR_bicubic_X3.lmdb"))
    assert {key: image.size for key, image in hr.items()} == {"a": (69, 48), "b": (63, 63), "c": (90, 48)}
    for key, image in hr.items():
        np.testing.assert_array_equal(np.asarray(lr[key]), downscale(np.asarray(image), 3))


def test_sub_images(source: Path, tmp_path: Path) -> None:
    count = prepare_folder(source, tmp_path / "out", scale=2, crop_size=32, step=16)
    hr = _read_lmdb(tmp_path / "out/HR.lmdb")
    assert len(hr) == count > 3
    assert {image.size for image in hr.values()} == {(32, 32)}


@pytest.mark.parametrize("size", [(32, 32), (33, 50), (64, 47)])
def test_patches_cover_the_image(size: tuple[int, int]) -> None:
    image = np.arange(size[0] * size[1]).reshape(*size, 1)
    patches = list(cut_patches(image, 32, 16))
    assert {patch.shape for patch in patches} == {(32, 32, 1)}
    assert set(np.concatenate([p.ravel() for p in patches])) == set(image.ravel())


def test_all_bad_files_are_listed_and_nothing_is_written(source: Path, tmp_path: Path) -> None:
    (source / "broken.png").write_bytes((source / "a.png").read_bytes()[:100])
    (source / "empty.png").touch()
    cv2.imwrite(str(source / "small.png"), photograph(1, 1))
    with pytest.raises(SourceError) as caught:
        prepare_folder(source, tmp_path / "out", scale=2)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    for name in ("broken.png", "empty.png", "small.png"):
        assert any(name in line for line in lines)
    assert not list((tmp_path / "out").iterdir())


def test_names_that_clash(source: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(source / "a.bmp"), photograph(50, 71))
    with pytest.raises(SourceError, match="rename one"):
        prepare_folder(source, tmp_path / "out", scale=2)


def test_no_image(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no image"):
        prepare_folder(tmp_path, tmp_path / "out", scale=2)


def test_demo_set(tmp_path: Path) -> None:
    prepare_demo_set(tmp_path)
    hr, lr = (_read_lmdb(tmp_path / "val" / name) for name in ("HR.lmdb", "LR_bicubic_X2.lmdb"))
    assert hr.keys() == lr.keys() == {"coffee", "chelsea"}
    train = _read_lmdb(tmp_path / "train/HR.lmdb")
    assert {image.size for image in train.values()} == {(128, 128)}
    before = (tmp_path / "train/HR.lmdb/data.mdb").stat().st_mtime_ns
    prepare_demo_set(tmp_path)
    assert (tmp_path / "train/HR.lmdb/data.mdb").stat().st_mtime_ns == before
