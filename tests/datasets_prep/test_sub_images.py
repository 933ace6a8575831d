"""The grid of sub-images: against a literal transcription of BasicSR's, aligned between GT and LQ."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_prep.sub_images import Grid, sub_image_key

scales = st.lists(st.sampled_from([1, 2, 3, 4, 8]), min_size=1, max_size=3)


def basicsr_boxes(height: int, width: int, crop_size: int, step: int, thresh_size: int) -> list[tuple[int, ...]]:
    """The loop of BasicSR's scripts/data_preparation/extract_subimages.py."""
    h_space = np.arange(0, height - crop_size + 1, step)
    if height - (h_space[-1] + crop_size) > thresh_size:
        h_space = np.append(h_space, height - crop_size)
    w_space = np.arange(0, width - crop_size + 1, step)
    if width - (w_space[-1] + crop_size) > thresh_size:
        w_space = np.append(w_space, width - crop_size)
    return [(int(x), int(y), crop_size, crop_size) for x in h_space for y in w_space]


@given(
    crop_size=st.integers(1, 40),
    step=st.integers(1, 60),
    thresh_size=st.integers(0, 50),
    more=st.tuples(st.integers(0, 150), st.integers(0, 150)),
)
def test_is_basicsrs_grid(crop_size: int, step: int, thresh_size: int, more: tuple[int, int]) -> None:
    height, width = (crop_size + m for m in more)
    boxes = Grid(crop_size, step, thresh_size).boxes(height, width)
    assert boxes == basicsr_boxes(height, width, crop_size, step, thresh_size)
    assert all(type(number) is int for box in boxes for number in box)


def test_only_more_than_the_threshold_gets_a_flush_square() -> None:
    grid = Grid(crop_size=48, step=24, thresh_size=10)
    assert grid.boxes(82, 48) == [(0, 0, 48, 48), (24, 0, 48, 48)]
    assert grid.boxes(83, 48) == [(0, 0, 48, 48), (24, 0, 48, 48), (35, 0, 48, 48)]
    assert grid.boxes(48, 83) == [(0, 0, 48, 48), (0, 24, 48, 48), (0, 35, 48, 48)]
    assert Grid(48, 24).boxes(72, 73) == [
        (0, 0, 48, 48), (0, 24, 48, 48), (0, 25, 48, 48), (24, 0, 48, 48), (24, 24, 48, 48), (24, 25, 48, 48),
    ]  # fmt: skip


@given(height=st.integers(1, 120), width=st.integers(1, 120), crop_size=st.integers(1, 60), overlap=st.integers(0, 59))
def test_every_pixel_is_covered_without_a_threshold(height: int, width: int, crop_size: int, overlap: int) -> None:
    covered = np.zeros((height, width), bool)
    boxes = Grid(crop_size, max(crop_size - overlap, 1)).boxes(height, width)
    for top, left, h, w in boxes:
        assert (h, w) == (min(crop_size, height), min(crop_size, width))
        assert 0 <= top <= height - h
        assert 0 <= left <= width - w
        covered[top : top + h, left : left + w] = True
    assert covered.all()
    assert len(set(boxes)) == len(boxes)


@given(
    scales=scales,
    units=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.integers(1, 20)),
    thresh_size=st.integers(0, 100),
)
def test_gt_boxes_are_multiples_of_the_lq_boxes(
    scales: list[int], units: tuple[int, int, int, int], thresh_size: int
) -> None:
    multiple = math.lcm(*scales)
    height, width, crop_size, step = (unit * multiple for unit in units)
    boxes = Grid(crop_size, step, thresh_size).boxes(height, width, multiple)
    gt = np.arange(height * width).reshape(height, width)
    for scale in scales:
        lq = gt[::scale, ::scale]
        for box in boxes:
            top, left, h, w = box
            assert all(number % scale == 0 for number in box)
            t, e, hh, ww = (number // scale for number in box)
            lq_patch, gt_patch = lq[t : t + hh, e : e + ww], gt[top : top + h, left : left + w]
            assert gt_patch.shape == (scale * lq_patch.shape[0], scale * lq_patch.shape[1])
            assert (gt_patch[::scale, ::scale] == lq_patch).all()


def test_an_axis_shorter_than_the_crop_stays_whole() -> None:
    grid = Grid(crop_size=48, step=24)
    assert grid.boxes(20, 30) == [(0, 0, 20, 30)]
    assert grid.boxes(20, 72) == [(0, 0, 20, 48), (0, 24, 20, 48)]
    assert grid.boxes(72, 47) == [(0, 0, 48, 47), (24, 0, 48, 47)]
    assert grid.boxes(1, 1) == [(0, 0, 1, 1)]


def test_sizes_are_checked() -> None:
    for sizes in ((0, 1), (1, 0), (8, -4), (8, 8, -1)):
        with pytest.raises(ValueError, match="must be at least 1, thresh_size at least 0"):
            Grid(*sizes)
    Grid(8, 16).check_multiple(8)
    for grid, wrong in (
        (Grid(10, 12), "crop_size 10"),
        (Grid(12, 10), "step 10"),
        (Grid(10, 11), "crop_size 10, step 11"),
    ):
        for check in (lambda grid=grid: grid.check_multiple(12), lambda grid=grid: grid.boxes(24, 24, 12)):
            with pytest.raises(ValueError, match=f"^not a multiple of 12, as the scales require: {wrong}$"):
                check()
    for size in ((0, 24), (24, 0), (25, 24), (24, 25)):
        with pytest.raises(ValueError, match=f"size {size[0]}x{size[1]} is not a positive multiple of 12"):
            Grid(12, 12).boxes(*size, 12)


def test_keys_count_from_one_with_three_digits() -> None:
    assert [sub_image_key("0801", index) for index in (0, 11, 998, 999)] == [
        "0801_s001", "0801_s012", "0801_s999", "0801_s1000",
    ]  # fmt: skip
