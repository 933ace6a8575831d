"""MATLAB's imresize: against a literal transcription of its definition, and against published LR files."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_prep.bicubic import crop_to_multiple, downscale


def cubic(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def literal_imresize(line: np.ndarray, scale: int) -> np.ndarray:
    """One row or column, one output pixel after another, indices and weights as MATLAB defines them (from 1)."""
    n = len(line)
    result = []
    for out in range(1, n // scale + 1):
        centre = out * scale + 0.5 * (1 - scale)
        left = math.floor(centre - 2 * scale)
        indices = range(left, left + 4 * scale + 2)
        weights = [cubic((centre - i) / scale) / scale for i in indices]
        mirrored = [(i - 1) % (2 * n) for i in indices]
        values = [float(line[i if i < n else 2 * n - 1 - i]) for i in mirrored]
        total = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
        result.append(min(max(math.floor(total + 0.5), 0), 255))
    return np.array(result, np.uint8)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    scale=st.sampled_from([2, 3, 4, 8]),
    colour=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_is_the_definition(rows: int, columns: int, scale: int, colour: bool, seed: int) -> None:
    shape = (rows * scale, columns * scale, 3) if colour else (rows * scale, columns * scale)
    image = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    vertical = np.apply_along_axis(literal_imresize, 0, image, scale)
    expected = np.apply_along_axis(literal_imresize, 1, vertical, scale)
    np.testing.assert_array_equal(downscale(image, scale), expected)


def test_constant_images_stay_constant() -> None:
    for dtype, value in ((np.uint8, 255), (np.uint16, 65535), (np.float32, 0.25)):
        image = np.full((12, 24, 3), value, dtype)
        assert (downscale(image, 3) == image[:4, :8]).all()


def test_sizes_must_divide() -> None:
    image = np.zeros((7, 9), np.uint8)
    with pytest.raises(ValueError, match="7x9 is no multiple of 2"):
        downscale(image, 2)
    assert crop_to_multiple(image, 2).shape == (6, 8)
    assert (downscale(image, 1) == image).all()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_published_lr_images_bit_for_bit(assets: Path, scale: int) -> None:
    paths = sorted((assets / "images/Set5/HR").glob("*.png"))
    assert len(paths) == 5
    for path in paths:
        lr = cv2.imread(str(assets / f"images/Set5/LR_bicubic/X{scale}/{path.stem}x{scale}.png"))
        np.testing.assert_array_equal(downscale(crop_to_multiple(cv2.imread(str(path)), scale), scale), lr)
