"""LMDBs: readable by BasicSR, whole or not at all, growing as needed."""

from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from helpers import photograph

from datasets_prep import lmdb_writer
from datasets_prep.checking import check
from datasets_prep.lmdb_writer import LmdbWriter
from ramit_model.system.errors import InputError


def read(path: Path) -> dict[str, np.ndarray]:
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return {k.decode(): cv2.imdecode(np.frombuffer(v, np.uint8), -1) for k, v in transaction.cursor()}


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    images = {
        "color": photograph(9, 7),
        "gray": photograph(9, 7)[..., 0],
        "deep": photograph(4, 5).astype(np.uint16) * 9,
    }
    with LmdbWriter(tmp_path / "x.lmdb", compress_level=3) as writer:
        for key, image in images.items():
            writer.put(key, image)
    found = read(tmp_path / "x.lmdb")
    assert found.keys() == images.keys()
    for key, image in images.items():
        np.testing.assert_array_equal(found[key], image)
    assert (tmp_path / "x.lmdb/meta_info.txt").read_text().splitlines() == [
        "color.png (9,7,3) 3",
        "gray.png (9,7,1) 3",
        "deep.png (4,5,3) 3",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["x.lmdb"]


def test_the_map_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_writer, "START_SIZE", 32 * 1024)
    monkeypatch.setattr(lmdb_writer, "BYTES_A_COMMIT", 3 * 5000)
    images = {f"i{i}": np.random.default_rng(i).integers(0, 256, (40, 40 + i, 3)).astype(np.uint8) for i in range(40)}
    with LmdbWriter(tmp_path / "x.lmdb") as writer:
        for key, image in images.items():
            writer.put(key, image)
    found = read(tmp_path / "x.lmdb")
    assert all((found[key] == image).all() for key, image in images.items())


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    with LmdbWriter(tmp_path / "x.lmdb") as writer:
        writer.put("old", photograph(4, 4))
    with pytest.raises(KeyboardInterrupt), LmdbWriter(tmp_path / "x.lmdb") as writer:
        writer.put("new", photograph(4, 4))
        raise KeyboardInterrupt
    assert list(read(tmp_path / "x.lmdb")) == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["x.lmdb"]


@pytest.mark.parametrize("key", ["a.b", "ä", ""])
def test_keys_that_basicsr_would_mangle(tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match="is not a valid key"), LmdbWriter(tmp_path / "x.lmdb") as writer:
        writer.put(key, photograph(4, 4))


def test_duplicate_keys_and_wrong_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two images are called a"), LmdbWriter(tmp_path / "x.lmdb") as writer:
        writer.put("a", photograph(4, 4))
        writer.put("a", photograph(4, 4))
    with pytest.raises(InputError, match=r"\.lmdb"):
        LmdbWriter(tmp_path / "x")


def test_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "\udcd6\udcd0.lmdb"
    with LmdbWriter(path) as writer:
        writer.put("a", photograph(16, 16))
    assert [found.entries for found in check(path, jobs=1)] == [1]
