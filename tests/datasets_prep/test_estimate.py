"""Space: estimated near what is written, refused in one line, said in words."""

import shutil
from pathlib import Path
from typing import NamedTuple

import cv2
import pytest
from helpers import photograph

from datasets_prep.estimate import PAGE, RAW, readable, require_space, space_needed
from datasets_prep.gathering import Item
from datasets_prep.processing import Job, Output, process
from datasets_prep.sources import look_into
from datasets_prep.sub_images import Grid
from ramit_model.system.errors import InputError

HR, X2, X4 = Output("gt", "HR.lmdb"), Output("x2", "X2.lmdb", 2), Output("x4", "X4.lmdb", 4)


def items(folder: Path, sizes: list[tuple[int, int]]) -> list[Item]:
    folder.mkdir(exist_ok=True)
    for index, size in enumerate(sizes):
        cv2.imwrite(str(folder / f"{index:02}.png"), photograph(*size, seed=index))
    return [Item(member.path.stem, {"gt": member}) for member in look_into(folder).members]


@pytest.mark.parametrize(
    "job",
    [
        Job((HR,)),
        Job((HR, X2, X4), multiple=4),
        Job((HR, X2), multiple=2, grid=Grid(64, 32)),
        Job((Output("gt", "HR"), Output("x2", "X2", 2))),
    ],
)
@pytest.mark.parametrize("count", [6, 40])
def test_the_estimate_is_near_what_is_made(tmp_path: Path, job: Job, count: int) -> None:
    sizes = [(150 + 3 * i, 180 - 2 * i) for i in range(count)]
    found = items(tmp_path / "in", sizes)
    contents = [content for item in found for e in process(item, job).entries.values() for _, content in e]
    estimate = space_needed(found, sizes, job)
    least = sum(map(len, contents))
    assert 0.9 * least < estimate - PAGE * len(contents) < 1.15 * least


@pytest.mark.parametrize(("outputs", "share"), [((HR,), 1), ((HR, X2), 5 / 4)])
def test_images_that_cannot_be_used_count_as_raw_pixels(
    tmp_path: Path, outputs: tuple[Output, ...], share: float
) -> None:
    items(tmp_path / "in", [(20, 30)])
    path = tmp_path / "in/00.png"
    path.write_bytes(path.read_bytes()[:-9] + b"x" * 9)
    found = [Item("00", {"gt": look_into(tmp_path / "in").members[0]})]
    assert space_needed(found, [(20, 30)], Job(outputs)) == RAW * 600 * share + PAGE * len(outputs)


class Usage(NamedTuple):
    free: int


def test_too_little_space_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or Usage(2_000_000))
    require_space(1_800_000, tmp_path / "not/yet/there", "preparing x")
    with pytest.raises(InputError) as caught:
        require_space(1_900_000, tmp_path / "not/yet/there", "preparing x")
    assert str(caught.value) == (
        f"{tmp_path}: preparing x needs about 2.1 MB, but only 2.0 MB are free; make room, or choose another --out"
    )
    assert asked == [tmp_path] * 2


def test_space_is_asked_for_where_a_relative_folder_will_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="needs about") as caught:
        require_space(1e18, Path("a/b"), "x")
    assert str(caught.value).startswith(f"{tmp_path}: ")
    require_space(1, Path("a/b"), "x")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0.0 kB"),
        (1, "0.0 kB"),
        (1500, "1.5 kB"),
        (1_000_000, "1.0 MB"),
        (12_345_678, "12.3 MB"),
        (4.2e9, "4.2 GB"),
        (7e12, "7.0 TB"),
        (7e15, "7000.0 TB"),
    ],
)
def test_bytes_in_words(size: float, text: str) -> None:
    assert readable(size) == text
