"""Decoded photos on the disk: read as they are, bounded, whole or not at all."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from helpers import photograph

from ramit_model.data.decoded import DecodedPhotos
from ramit_model.data.patches import Image

BYTES = 20 * 30 * 3


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Files that stand for photos; their content is their seed."""
    for seed in range(4):
        (tmp_path / f"{seed}.jpg").write_text(str(seed))
    return [str(tmp_path / f"{seed}.jpg") for seed in range(4)]


class Decoder:
    def __init__(self) -> None:
        self.decoded: list[str] = []

    def __call__(self, path: str) -> Image:
        self.decoded.append(path)
        return photograph(20, 30, seed=int(Path(path).read_text()))


def opened(folder: Path, paths: list[str], limit: int = 10**9, form: str = "whole") -> DecodedPhotos:
    return DecodedPhotos(folder, limit, dict.fromkeys(paths, (20, 30)), form)


def check(photos: DecodedPhotos, paths: list[str], decode: Decoder) -> None:
    for path in paths:
        np.testing.assert_array_equal(photos.read(path, decode), photograph(20, 30, seed=int(Path(path).read_text())))


def test_each_is_decoded_once(tmp_path: Path, paths: list[str]) -> None:
    decode, folder = Decoder(), tmp_path / "deep/decoded"
    photos = opened(folder, paths)
    assert (photos.kept, photos.bytes) == (set(paths), 4 * BYTES)
    check(photos, paths, decode)
    check(photos, paths, decode)
    check(opened(folder, paths), paths, decode)
    assert decode.decoded == paths
    assert len(list(folder.iterdir())) == 4
    assert all(file.stat().st_size < BYTES + 200 for file in folder.iterdir())
    check(opened(folder, paths, form="shrunk"), paths[:1], decode)
    assert decode.decoded == [*paths, paths[0]]


def test_what_is_read_is_not_in_memory(tmp_path: Path, paths: list[str]) -> None:
    photos = opened(tmp_path / "decoded", paths)
    photos.read(paths[0], Decoder())
    image = photos.read(paths[0], Decoder())
    assert isinstance(image.base, np.memmap)
    assert not image.flags.writeable


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"no array at all", 500, "float"])
def test_a_damaged_file_is_made_again(tmp_path: Path, paths: list[str], damage: bytes | int | str) -> None:
    decode, folder = Decoder(), tmp_path / "decoded"
    check(opened(folder, paths), paths[:1], decode)
    (file,) = folder.iterdir()
    if isinstance(damage, str):
        np.save(file, np.zeros((20, 30, 3)))
    else:
        file.write_bytes(file.read_bytes()[:damage] if isinstance(damage, int) else damage)
    check(opened(folder, paths), paths[:1], decode)
    check(opened(folder, paths), paths[:1], decode)
    assert decode.decoded == paths[:1] * 2


def test_a_changed_photo_is_decoded_again(tmp_path: Path, paths: list[str]) -> None:
    decode, photos = Decoder(), opened(tmp_path / "decoded", paths)
    check(photos, paths[:1], decode)
    Path(paths[0]).write_text("17")
    check(photos, paths[:1], decode)
    assert decode.decoded == paths[:1] * 2


def test_there_is_a_limit(tmp_path: Path, paths: list[str]) -> None:
    decode, folder = Decoder(), tmp_path / "decoded"
    photos = opened(folder, paths, limit=2 * BYTES + 10)
    assert photos.kept == set(paths[:2])
    check(photos, paths, decode)
    check(photos, paths, decode)
    assert decode.decoded == [*paths, *paths[2:]]
    assert len(list(folder.iterdir())) == 2


def test_half_of_the_disk_stays_free(tmp_path: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 5 * BYTES})())
    assert len(opened(tmp_path / "decoded", paths).kept) == 2


def test_files_of_others_make_room_the_oldest_first(tmp_path: Path, paths: list[str]) -> None:
    decode, folder = Decoder(), tmp_path / "decoded"
    check(opened(folder, paths[:2]), paths[:2], decode)
    for age, file in zip((50, 10), sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns), strict=True):
        os.utime(file, (1e9 - age, 1e9 - age))
    opened(folder, paths[2:], limit=10 * BYTES)
    assert len(list(folder.iterdir())) == 2
    # Room for two and a half of others' besides its own two: files are a little larger than their pixels.
    opened(folder, paths[2:], limit=3 * BYTES + BYTES // 2)
    decode.decoded.clear()
    check(opened(folder, paths[:2]), paths[:2], decode)
    assert decode.decoded == paths[:1]  # the older one was removed
    opened(folder, paths[2:], limit=2 * BYTES)
    assert not list(folder.iterdir())


def test_a_full_disk_costs_time_only(
    tmp_path: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch, log: list[logging.LogRecord]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "x.npy")

    decode, photos = Decoder(), opened(tmp_path / "decoded", paths)
    monkeypatch.setattr("ramit_model.data.decoded.write_atomically", full)
    check(photos, paths[:2], decode)
    check(photos, paths[:2], decode)
    assert decode.decoded == paths[:2] * 2
    assert [record.getMessage() for record in log] == [
        "x.npy: No space left on device: photos are decoded again for each patch"
    ]
