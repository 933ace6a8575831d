"""Which images a data set reads, and how their results are called."""

import os
from pathlib import Path
from typing import Any

import pytest
from helpers import photograph

from datasets_prep.lmdb_writer import LmdbWriter
from ramit_model.data.listing import list_images, read_list, result_names
from ramit_model.system.errors import InputError


def options(root: Path, **changes: Any) -> dict[str, Any]:
    return {"name": "mine", "dataroot_gt": str(root), "io_backend": {"type": "disk"}, **changes}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    (root / "sub").mkdir(parents=True)
    for name in ("b.PNG", "a.jpg", "my photo (1).png", "sub/c.png"):
        (root / name).touch()
    return root


def test_a_folder(root: Path) -> None:
    for name in ("Thumbs.db", "README.txt", ".hidden.png", "desktop.ini", "d"):
        (root / name).touch()
    assert list_images(options(root), "gt") == (
        ["a.jpg", "b.PNG", "my photo (1).png"],
        [
            "4 files left out, being no pictures: README.txt, Thumbs.db, d and 1 more",
            "1 sub-folder left out",
        ],
    )


def test_a_pipe_is_no_picture(root: Path) -> None:
    """Opening it would wait for ever."""
    os.mkfifo(root / "pipe.png")
    assert (
        list_images(options(root), "gt")[1][0]
        == "1 picture left out, of a kind that is not read here (save it as PNG): pipe.png"
    )


def test_no_picture(tmp_path: Path) -> None:
    (tmp_path / "README.txt").touch()
    with pytest.raises(InputError, match=r"no image in .*; 1 file left out, being no picture: README\.txt"):
        list_images(options(tmp_path), "gt")


LISTS = {
    "plain": b"b.PNG\na.jpg\n",
    "BasicSR's": b"b.PNG (96,96,3)\na.jpg (96, 96, 3) 1\n",
    "empty lines": b"\n  \nb.PNG\n\na.jpg\n\n",
    "byte order mark, lines of Windows": b"\xef\xbb\xbfb.PNG\r\na.jpg\r\n",
    "UTF-16": "b.PNG\r\na.jpg\r\n".encode("utf-16"),
    "something behind a space": b"b.PNG sharp\na.jpg blurred\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_lists(root: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "list.txt").write_bytes(LISTS[name])
    found, _ = list_images(options(root, meta_info_file=str(tmp_path / "list.txt")), "gt")
    assert found == ["b.PNG", "a.jpg"]


def test_names_with_spaces_and_sub_folders(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("my photo (1).png (96,96,3)\nmy photo (1).png\nsub\\c.png\n")
    assert list_images(options(root, meta_info_file=str(path)), "gt")[0] == [
        "my photo (1).png",
        "my photo (1).png",
        "sub/c.png",
    ]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xd6\xd0.png\n")
    assert read_list(tmp_path / "list.txt") == [(1, "\udcd6\udcd0.png")]


def test_a_name_that_is_not_there(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a.jpg\n\nz.png\n")
    with pytest.raises(InputError, match=r"list\.txt:3: .*images/z\.png: no such file; correct the list"):
        list_images(options(root, meta_info_file=str(path)), "gt")


def test_a_list_chooses_entries_of_an_lmdb(tmp_path: Path) -> None:
    """BasicSR reads all of them, whatever the list says."""
    with LmdbWriter(tmp_path / "GT.lmdb") as writer:
        for key in "abc":
            writer.put(key, photograph(16, 16))
    path = tmp_path / "list.txt"
    path.write_text("c.png (16,16,3)\na.png\n")
    lmdb = options(tmp_path / "GT.lmdb/", io_backend={"type": "lmdb"})
    assert list_images(lmdb, "gt")[0] == ["a", "b", "c"]
    assert list_images({**lmdb, "meta_info_file": str(path)}, "gt")[0] == ["c", "a"]
    path.write_text("z.png\n")
    with pytest.raises(InputError, match=r"list\.txt:1: .*GT\.lmdb has no entry z"):
        list_images({**lmdb, "meta_info_file": str(path)}, "gt")


def test_results_have_names_of_their_own() -> None:
    assert result_names(["a.png", "2020/a.png", "2021/a.jpg", "b.1.png"], "x") == ["a", "2020_a", "2021_a", "b.1"]
    for names in (["shot.bmp", "shot.png"], ["a/b.png", "a_b.png"], ["a.png", "a.png"]):
        with pytest.raises(InputError, match=r"^x: .* and .*: would have one result, \w+; rename or remove one"):
            result_names(names, "x")
