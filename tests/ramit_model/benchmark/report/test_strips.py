"""Comparison strips: where the crop is, its PSNR, and the picture."""

import io
from itertools import pairwise

import cv2
import numpy as np
import pytest
from helpers import photograph
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ramit_model.benchmark.report.strips import ENLARGED, WIDEST, Crop, choose_crop, crop_psnr, cut, draw_strip

RED = (230, 0, 0)


def strip(gt: np.ndarray, pictures: dict[str, np.ndarray], crop: Crop, **changes: object) -> np.ndarray:
    """A strip as an RGB array."""
    arguments = {"captions": {}, "title": "Set5, image", **changes}
    return np.asarray(Image.open(io.BytesIO(draw_strip(gt, pictures, crop, **arguments))))


def gray(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)


def results(gt: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Different pictures, by names of up to 20 letters."""
    return {f"network-{i:<012d}"[: 8 + 2 * i]: np.roll(gt, i + 1, axis=1) for i in range(count)}


def find(picture: np.ndarray, sheet: np.ndarray) -> tuple[int, int]:
    """Left and top of a BGR picture in an RGB sheet, where it must be without any change."""
    rgb = np.ascontiguousarray(picture[..., ::-1])
    _, _, (left, top), _ = cv2.minMaxLoc(cv2.matchTemplate(sheet, rgb, cv2.TM_SQDIFF))
    height, width = picture.shape[:2]
    np.testing.assert_array_equal(sheet[top : top + height, left : left + width], rgb)
    return left, top


def enlarged(picture: np.ndarray, crop: Crop, zoom: int) -> np.ndarray:
    return cut(picture, crop).repeat(zoom, axis=0).repeat(zoom, axis=1)


@pytest.mark.parametrize("channels", ["colour", "gray"])
def test_crop_is_where_the_error_is(channels: str) -> None:
    gt = photograph(60, 90)
    reference = gt.copy()
    reference[20:36, 50:66] ^= 64
    reference[5, 5] ^= 128  # larger than any other, but a single pixel
    if channels == "gray":
        gt, reference = gt[..., 1], reference[..., 1]
    assert choose_crop(gt, reference, 16) == (50, 20, 16, 16)


def test_crop_sums_errors_over_channels() -> None:
    gt = np.zeros((20, 40, 3), np.uint8)
    reference = gt.copy()
    reference[2:6, 2:6, 0] = 15
    reference[10:14, 30:34] = 10  # less in each channel, more in all
    assert choose_crop(gt, reference, 4) == (30, 10, 4, 4)


def test_largest_error_does_not_overflow() -> None:
    gt = np.zeros((300, 300, 3), np.uint8)
    assert choose_crop(gt, gt, 64) == (0, 0, 64, 64)
    assert choose_crop(gt, ~gt, 300) == (0, 0, 300, 300)
    reference = gt.copy()
    reference[-64:, -64:] = 255
    assert choose_crop(gt, reference, 64) == (236, 236, 64, 64)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 64), st.integers(0, 2**32 - 1))
def test_crop_is_inside_and_worst(height: int, width: int, size: int, seed: int) -> None:
    gt, reference = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3)).astype(np.uint8)
    crop = left, top, *sides = choose_crop(gt, reference, size)
    side = min(size, height, width)
    assert sides == [side, side]
    assert 0 <= left <= width - side
    assert 0 <= top <= height - side
    error = (cut(gt, crop).astype(int) - cut(reference, crop)) ** 2
    other = (0, 0, side, side)
    assert error.sum() >= ((cut(gt, other).astype(int) - cut(reference, other)) ** 2).sum()


def test_psnr_of_the_crop_alone() -> None:
    gt = np.full((30, 40), 100, np.uint8)
    picture = gt.copy()
    picture[10:20, 10:20] = 110
    for flag in (False, True):
        assert crop_psnr(picture, gt, (10, 10, 10, 10), test_y_channel=flag) == pytest.approx(28.13, abs=0.01)
        assert crop_psnr(picture, gt, (20, 10, 10, 10), test_y_channel=flag) == float("inf")


def test_psnr_on_y() -> None:
    gt = np.full((30, 40, 3), 100, np.uint8)
    picture = gt + np.array([0, 0, 10], np.uint8)  # red only: 65.481 / 255 of it are Y
    on_y, on_colour = (crop_psnr(picture, gt, (5, 5, 10, 10), test_y_channel=flag) for flag in (True, False))
    assert on_y == pytest.approx(20 * np.log10(255 / 2.56788), abs=0.01)
    assert on_colour == pytest.approx(10 * np.log10(255**2 / (100 / 3)), abs=0.01)


@pytest.mark.parametrize("count", range(1, 9))
def test_crops_are_enlarged_exactly_and_in_order(count: int) -> None:
    gt = photograph(90, 120)
    pictures, crop = results(gt, count), (30, 20, 40, 40)
    sheet = strip(gt, pictures, crop)
    places = [find(enlarged(picture, crop, 6), sheet) for picture in (gt, *pictures.values())]
    rows = sorted({top for _, top in places})
    assert len(rows) == (1 if count <= 3 else 2)
    assert places == sorted(places, key=lambda place: (place[1], place[0]))
    assert len(set(places)) == count + 1
    for (left, top), (next_left, next_top) in pairwise(places):
        assert next_top > top or next_left >= left + 240


@pytest.mark.parametrize(("height", "width"), [(30, 40), (40, 30), (400, 24), (24, 400), (16, 2000), (8, 8)])
@pytest.mark.parametrize("count", [1, 5])
def test_all_shapes(height: int, width: int, count: int) -> None:
    gt = photograph(height, width)
    crop = choose_crop(gt, np.roll(gt, 3, axis=0), 32)
    zoom = ENLARGED // crop[2]
    sheet = strip(gt, results(gt, count), crop)
    left, top = find(enlarged(gt, crop, zoom), sheet)
    assert left - 32 <= WIDEST
    assert (sheet[:, -1] == 255).all()
    assert (sheet[-1] == 255).all()
    # The whole GT, to the left, is as high as the crops with their captions, unless that is too wide.
    block = sheet.shape[0] - top - 16
    rows = np.flatnonzero((sheet[top:, 16 : left - 16] != 255).any(axis=(1, 2)))
    expected = min(block, round(WIDEST / width * height))
    assert rows[-1] - rows[0] + 1 == pytest.approx(expected, abs=1 + block / height)


@pytest.mark.parametrize("value", [0, 128, 255, "red"])
@pytest.mark.parametrize("crop", [(30, 20, 20, 20), (0, 0, 20, 20), (76, 56, 20, 20), (0, 0, 96, 76)])
def test_frame_is_visible_on_every_background(value: int | str, crop: Crop) -> None:
    gt = np.full((76, 96, 3), (0, 0, 230) if value == "red" else value, np.uint8)
    sheet = strip(gt, {"bicubic": gt}, crop)
    scale = (sheet.shape[0] - 22 - 3 * 16) / 76
    left, top = round(16 + crop[0] * scale), round(54 + crop[1] * scale)
    middle = top + round(crop[3] * scale / 2)
    # Across the left side of the frame, a bit before the crop to a bit behind.
    across = sheet[middle, max(16, left - 6) : left + 8].tolist()
    assert list(RED) in across
    assert [255, 255, 255] in across


def test_frame_surrounds_the_crop() -> None:
    gt = np.zeros((100, 100, 3), np.uint8)
    sheet = strip(gt, {"bicubic": gt}, (40, 20, 20, 30))
    red_rows, red_columns = np.nonzero((sheet == RED).all(axis=2))
    scale = (sheet.shape[0] - 22 - 3 * 16) / 100
    inner = [16 + 40 * scale, 54 + 20 * scale, 16 + 60 * scale, 54 + 50 * scale]
    frame = [red_columns.min(), red_rows.min(), red_columns.max(), red_rows.max()]
    assert np.abs(np.subtract(frame, inner)).max() < 5
    assert frame[0] < inner[0]
    assert frame[3] >= inner[3]


def test_gray_pictures() -> None:
    gt = photograph(60, 60)
    pictures = results(gt, 2)
    gray_strip = strip(gray(gt), {name: gray(picture) for name, picture in pictures.items()}, (0, 0, 20, 20))
    assert gray_strip.shape == strip(gt, pictures, (0, 0, 20, 20)).shape
    find(cv2.cvtColor(enlarged(gray(gt), (0, 0, 20, 20), 13), cv2.COLOR_GRAY2BGR), gray_strip)


def test_captions_title_and_best_are_drawn() -> None:
    gt = photograph(64, 64)
    pictures, crop = {"bicubic": gt, "RAMiT": np.roll(gt, 1, axis=0)}, (10, 10, 30, 30)
    captions = {"bicubic": "33.66 dB (crop 28.12 dB)", "RAMiT": "38.16 dB (crop 33.00 dB)"}
    plain = strip(gt, pictures, crop)
    captioned = strip(gt, pictures, crop, captions=captions)
    best = strip(gt, pictures, crop, captions=captions, best=["RAMiT"])
    _, top = find(enlarged(gt, crop, 8), plain)
    left, _ = find(enlarged(pictures["RAMiT"], crop, 8), plain)

    def black(sheet: np.ndarray) -> int:
        return int((sheet[top + 240 :, left:] == 0).all(axis=2).sum())

    assert 0 < black(plain) < black(captioned) < black(best)
    assert (best[top + 240 :, :left] == captioned[top + 240 :, :left]).all()
    assert (plain[: top - 16] == captioned[: top - 16]).all()
    assert (strip(gt, pictures, crop, title="Set14, other")[: top - 16] != plain[: top - 16]).any()


def test_long_texts_fit() -> None:
    gt = photograph(30, 30)
    name = "a-name-of-many-more-than-twenty-letters"
    sheet = strip(gt, {name: gt}, (0, 0, 30, 30), captions={name: "x" * 60}, title="title " * 40)
    assert (sheet[:, -16:] == 255).all()
    assert (sheet[:, :16] == 255).all()


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 8))
def test_same_pictures_give_the_same_bytes(count: int) -> None:
    gt = photograph(40, 30)
    pictures = results(gt, count)
    one, other = (draw_strip(gt, pictures, (0, 0, 20, 20), {}, "title") for _ in range(2))
    assert one == other
