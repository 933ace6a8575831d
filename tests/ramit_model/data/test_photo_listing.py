"""Photos in sub-folders, and which are held out: by name, steady when photos are added or moved."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramit_model.data.photo_listing import MAX_HELD_OUT, TENTH, Photo, held_out, list_photos
from ramit_model.system.errors import InputError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_sub_folders_are_read_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a/z.png", "a/b/c.webp", "a.tiff", ".x.png", ".git/y.png", "a/.z.png", "a/notes.txt")
    found, remarks = list_photos({"dataroot_gt": str(tmp_path)})
    assert found == [Photo(name) for name in ("a.tiff", "a/b/c.webp", "a/z.png", "b.JPG")]
    assert remarks == ["1 file left out, being no picture: a/notes.txt"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_cannot_lead_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "a/b.png")
    (tmp_path / "a/up").symlink_to(tmp_path)
    assert list_photos({"dataroot_gt": str(tmp_path)}) == ([Photo("a/b.png")], ["1 linked folder left out"])


def test_pairs_in_sub_folders(tmp_path: Path) -> None:
    touch(tmp_path / "gt", "night/1.png", "day/1.png")
    touch(tmp_path / "lq", "night/1.jpg", "day/1.png", "day/x.txt")
    found, remarks = list_photos({"dataroot_gt": str(tmp_path / "gt"), "dataroot_lq": str(tmp_path / "lq")})
    assert found == [Photo("day/1.png", "day/1.png"), Photo("night/1.png", "night/1.jpg")]
    assert remarks == [
        "LQ: 1 file left out, being no picture: day/x.txt",
        "2 pairs, paired by equal names without suffix",
    ]


def test_a_list_of_photos(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "2.png", "3.png")
    (tmp_path / "list.txt").write_text("3.png\na/1.png\n")
    options = {"dataroot_gt": str(tmp_path), "meta_info_file": str(tmp_path / "list.txt")}
    assert list_photos(options)[0] == [Photo("3.png"), Photo("a/1.png")]


# Held out -------------------------------------------------------------------------------------------------------------

stems = st.lists(st.text("abcXY12_-. ", min_size=1, max_size=6).map(lambda s: s + "1"), min_size=2, unique_by=str.lower)


@given(stems.map(lambda names: [f"{name}.png" for name in names]))
def test_a_tenth_is_held_out(names: list[str]) -> None:
    held = held_out(names, TENTH)
    assert held < set(names)
    assert len(held) == min(max(1, len(names) // 10), MAX_HELD_OUT)


@given(stems, st.randoms())
def test_neither_order_nor_folder_nor_suffix_matters(names: list[str], rng: object) -> None:
    held = {name.removesuffix(".png") for name in held_out([f"{name}.png" for name in names], TENTH)}
    rng.shuffle(names)  # type: ignore[attr-defined]
    assert {path.split("/")[-1][:-5] for path in held_out([f"x/{name}.jpeg" for name in names], TENTH)} == held


@given(st.integers(2, 400))
def test_a_photo_more_changes_one_at_most(count: int) -> None:
    names = [f"IMG_{number:04}.jpg" for number in range(count + 1)]
    before, after = held_out(names[:-1], TENTH), held_out(names, TENTH)
    assert len(before - after) <= 1
    assert len(after - before) <= 1


def test_which_they_are_stays_so() -> None:
    """Of trainings that are resumed with another version, and validations that are compared."""
    names = [f"IMG_{number:04}.jpg" for number in range(300)]
    assert sorted(held_out(names[:40], TENTH)) == ["IMG_0005.jpg", "IMG_0007.jpg", "IMG_0027.jpg", "IMG_0032.jpg"]
    assert len(held_out(names, TENTH)) == 20


def test_copies_and_sub_images_are_on_one_side() -> None:
    names = ["a.png", "x/A.jpg", "b_s001.png", "b_s002.png", "y/b_s003.png", "c.png"]
    for count in range(1, 4):
        held = held_out(names, count)
        assert len(held & {"a.png", "x/A.jpg"}) in (0, 2)
        assert len(held & {"b_s001.png", "b_s002.png", "y/b_s003.png"}) in (0, 3)


@pytest.mark.bad_input
@pytest.mark.parametrize("names", [["a.png"], ["a.png", "b/a.jpg"]])
def test_nothing_left_to_train_on(names: list[str]) -> None:
    with pytest.raises(InputError, match=r"held_out: 1 of \d photos? for validation would leave none to train on"):
        held_out(names, TENTH)
