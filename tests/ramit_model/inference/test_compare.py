"""Before and after: strips, and a page that holds everything it shows."""

import re
from pathlib import Path, PurePath

import cv2
import numpy as np
import pytest
from helpers import photograph

from ramit_model.inference import compare
from ramit_model.inference.batch.jobs import Job
from ramit_model.inference.compare import Comparisons, detail_view, draw_strip, whole_view
from ramit_model.inference.pictures.picture import Picture


def pair(height: int, width: int, scale: int = 2, kind: type = np.uint8) -> tuple[Picture, Picture]:
    after = photograph(height * scale, width * scale).astype(kind)
    return Picture(np.ascontiguousarray(after[::scale, ::scale])), Picture(after)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (40, 60), (500, 700)])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_views_have_equal_sizes(size: tuple[int, int], scale: int) -> None:
    before, after = pair(*size, scale)
    for view in (whole_view(before, after), detail_view(before, after)):
        if view is not None:
            assert view.before.shape == view.after.shape
            assert view.after.dtype == np.uint8
            assert view.after.ndim == 3
    assert draw_strip(whole_view(before, after), detail_view(before, after)).dtype == np.uint8


def test_the_detail_is_where_the_edges_are() -> None:
    after = np.full((1200, 1600, 3), 90, np.uint8)
    after[700:900, 1000:1200] = np.random.default_rng(0).integers(0, 255, (200, 200, 3))
    before, after = Picture(after[::2, ::2].copy()), Picture(after)
    view = detail_view(before, after)
    assert view is not None
    assert (np.abs(view.after.astype(int) - 90) > 0).any(axis=2).sum() > 0.95 * 200 * 200


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_gray_transparent_and_deep_pictures(kind: type) -> None:
    white = 1 if kind is np.float32 else np.iinfo(kind).max
    pixels = np.zeros((30, 40), kind)
    alpha = np.zeros((30, 40), kind)
    alpha[:, 20:] = white
    view = whole_view(Picture(pixels, alpha), Picture(pixels, alpha))
    assert (view.after[:, :15] == 255).all()
    assert (view.after[:, 25:] == 0).all()


def test_the_page_holds_everything(tmp_path: Path) -> None:
    comparisons = Comparisons(tmp_path / "c", "a <title>")
    jobs = [Job(Path(f"{i}.png"), Path(f"o/{i}.png"), PurePath(f'sub/"{i}" <&>.png')) for i in range(3)]
    add = comparisons.adder(jobs)
    for job in reversed(jobs):
        add(job, *pair(500, 600))
    comparisons.write_page()
    page = comparisons.page.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert not re.search(r"https?://|url\(", page)
    names = re.findall(r"<h2>(.*?)</h2>", page)
    assert names == [f"sub/&#34;{i}&#34; &lt;&amp;&gt;.png" for i in range(3)]
    assert page.count("<input") == 6
    assert len(list((tmp_path / "c/sub").glob("*.jpg"))) == 3
    assert cv2.imread(str(next((tmp_path / "c/sub").glob("*.jpg")))).shape[1] > 1200


def test_the_page_shows_the_first_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "MAX_ON_PAGE", 2)
    comparisons = Comparisons(tmp_path, "title")
    for number in (3, 0, 2, 1):
        comparisons.add(number, Path(f"{number}.png"), *pair(20, 20))
    comparisons.write_page()
    page = comparisons.page.read_text(encoding="utf-8")
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["0.png", "1.png"]
    assert "The first 2 of 4 pictures" in page


def test_no_pictures_no_page(tmp_path: Path) -> None:
    comparisons = Comparisons(tmp_path, "title")
    comparisons.write_page()
    assert not comparisons.page.exists()
