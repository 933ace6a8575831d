"""MATLAB's imresize: against a literal transcription of its definition, and against published LR files."""

import math
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_prep.bicubic import crop_to_multiple, downscale, downscale_part


def cubic(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def literal_pass(image: np.ndarray, scale: int) -> np.ndarray:
    """One output row after another, tap by tap, indices and weights as MATLAB defines them (from 1)."""
    n = len(image)
    integer = np.issubdtype(image.dtype, np.integer)
    rows = []
    for out in range(1, n // scale + 1):
        centre = out * scale + 0.5 * (1 - scale)
        left = math.floor(centre - 2 * scale)
        indices = range(left, left + 4 * scale + 2)
        weights = [cubic((centre - i) / scale) / scale for i in indices]
        total = np.zeros(image.shape[1:])
        for i, weight in zip(indices, weights, strict=True):
            mirrored = (i - 1) % (2 * n)
            total = total + weight / sum(weights) * image[mirrored if mirrored < n else 2 * n - 1 - mirrored]
        rows.append(np.clip(np.floor(total + 0.5), 0, np.iinfo(image.dtype).max) if integer else total)
    return np.array(rows).astype(image.dtype)


def literal_imresize(image: np.ndarray, scale: int) -> np.ndarray:
    return literal_pass(literal_pass(image, scale).swapaxes(0, 1), scale).swapaxes(0, 1)


def picture(pattern: str, shape: tuple[int, ...], dtype: type, seed: int) -> np.ndarray:
    """Few levels make ties frequent, sharp edges between 0 and the greatest value clipping."""
    rng = np.random.default_rng(seed)
    top = np.iinfo(dtype).max
    row, column = np.indices(shape[:2]).reshape(2, *shape[:2], *[1] * (len(shape) - 2))
    if pattern == "random":
        return rng.integers(0, top + 1, shape).astype(dtype)
    if pattern == "binary":
        return (rng.integers(0, 2, shape) * top).astype(dtype)
    if pattern == "few levels":
        level = (top + 1) // int(rng.choice([2, 4, 16]))
        return (rng.integers(0, (top + 1) // level, shape) * level).astype(dtype)
    if pattern == "checkerboard":
        cell, low, high = rng.integers(1, 9), *rng.choice([0, top // 2, top // 2 + 1, top], 2)
        value = np.where((row // cell + column // cell) % 2, low, high)
    elif pattern == "gradient":
        down, right, offset = rng.integers(-8, 9, 3)
        value = (row * down + column * right + offset * 16) % (top + 1)
    else:
        value = np.full((1, 1) + (1,) * (len(shape) - 2), rng.integers(0, top + 1))
    return np.broadcast_to(value, shape).astype(dtype)


sizes = st.integers(1, 300) | st.integers(24, 300)


@settings(max_examples=300, deadline=None)
@given(
    height=sizes,
    width=sizes,
    channels=st.sampled_from([(), (1,), (3,)]),
    scale=st.sampled_from([2, 3, 4, 8]),
    dtype=st.sampled_from([np.uint8, np.uint8, np.uint16]),
    pattern=st.sampled_from(["random", "binary", "few levels", "checkerboard", "gradient", "constant"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_is_the_definition(
    height: int, width: int, channels: tuple[int, ...], scale: int, dtype: type, pattern: str, seed: int
) -> None:
    image = crop_to_multiple(picture(pattern, (height, width, *channels), dtype, seed), scale)
    assert image.shape == (height // scale * scale, width // scale * scale, *channels)
    if min(height, width) < scale:
        with pytest.raises(ValueError, match=f"has no pixels; an image must be at least {scale}x{scale}"):
            downscale(image, scale)
        return
    result = downscale(image, scale)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, literal_imresize(image, scale))


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("pattern", ["random", "binary", "few levels"])
def test_is_the_definition_on_many_pixels(pattern: str, scale: int) -> None:
    for seed in range(3):
        image = picture(pattern, (312, 288, 3), np.uint8, seed)
        np.testing.assert_array_equal(downscale(image, scale), literal_imresize(image, scale))


def test_scale_8_needs_more_than_single_precision() -> None:
    """The third row is 253.49997; in float32, sums above 256 on the way there make it 253.5."""
    bright = [247, 238, 236, 236, 234, 234, 248, 240, 243, 235, 246, 245, 235, 240, 245, 242]
    line = [0] * 12 + bright + [124, 185, 237, 80, 93, 220, 221, 110] + [0] * 4
    image = np.repeat(np.array(line, np.uint8)[:, np.newaxis], 8, axis=1)
    assert downscale(image, 8)[2] == literal_imresize(image, 8)[2] == 253


@pytest.mark.parametrize("scale", [2, 3, 5, 7])
def test_floats_and_other_scales(scale: int) -> None:
    image = picture("random", (scale * 21, scale * 10), np.uint8, 0)
    np.testing.assert_array_equal(downscale(image, scale), literal_imresize(image, scale))
    for dtype, error in ((np.float32, 1e-6), (np.float64, 1e-14)):
        floats = image.astype(dtype) / dtype(255)
        result = downscale(floats, scale)
        assert result.dtype == dtype
        np.testing.assert_allclose(result, literal_imresize(floats, scale), rtol=0, atol=error)


def test_memory_does_not_grow_with_the_height() -> None:
    """Also with views, which must not be copied as a whole."""
    image = crop_to_multiple(np.zeros((4001, 601, 3), np.uint8), 2)
    tracemalloc.start()
    try:
        result = downscale(image, 2)
        extra = tracemalloc.get_traced_memory()[1] - result.nbytes
    finally:
        tracemalloc.stop()
    assert extra < 2 * 2**20 < image.nbytes


def test_constant_images_stay_constant() -> None:
    for dtype, value in ((np.uint8, 255), (np.uint16, 65535), (np.float32, 0.25)):
        image = np.full((12, 24, 3), value, dtype)
        assert (downscale(image, 3) == image[:4, :8]).all()


def test_sizes_must_divide() -> None:
    image = np.zeros((7, 9), np.uint8)
    with pytest.raises(ValueError, match="7x9 is not a multiple of 2"):
        downscale(image, 2)
    with pytest.raises(ValueError, match="size 0x8 has no pixels; an image must be at least 8x8"):
        downscale(crop_to_multiple(image, 8), 8)
    assert crop_to_multiple(image, 2).shape == (6, 8)
    assert (downscale(image, 1) == image).all()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_published_lr_images_bit_for_bit(assets: Path, scale: int) -> None:
    paths = sorted((assets / "images/Set5/HR").glob("*.png"))
    assert len(paths) == 5
    for path in paths:
        lr = cv2.imread(str(assets / f"images/Set5/LR_bicubic/X{scale}/{path.stem}x{scale}.png"))
        np.testing.assert_array_equal(downscale(crop_to_multiple(cv2.imread(str(path)), scale), scale), lr)


# Parts ----------------------------------------------------------------------------------------------------------------


@given(
    scale=st.sampled_from([1, 2, 3, 4, 5, 8]),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    dtype=st.sampled_from([np.uint8, np.uint8, np.uint16]),
    pattern=st.sampled_from(["random", "binary", "few levels", "checkerboard"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_part_is_that_part_of_the_whole(
    scale: int, height: int, width: int, dtype: type, pattern: str, seed: int
) -> None:
    image = picture(pattern, (height * scale, width * scale, 3), dtype, seed)
    rng = np.random.default_rng(seed)
    top, bottom = sorted(rng.choice(height + 1, 2, replace=False))
    left, right = sorted(rng.choice(width + 1, 2, replace=False))
    part = downscale_part(image, scale, slice(top, bottom), slice(left, right))
    np.testing.assert_array_equal(part, downscale(image, scale)[top:bottom, left:right])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_part_reads_only_the_input_around_it(scale: int) -> None:
    image = picture("random", (20 * scale, 20 * scale, 3), np.uint8, 0)
    before = downscale_part(image, scale, slice(8, 12), slice(8, 12))
    image[: 6 * scale] = image[14 * scale :] = 0
    image[:, : 6 * scale] = image[:, 14 * scale :] = 0
    np.testing.assert_array_equal(downscale_part(image, scale, slice(8, 12), slice(8, 12)), before)
