"""Small data set for all tasks: photographs inside scikit-image's wheel, and degraded ones made from them.

It shows within minutes whether a set-up trains as it should. Its darkness and its rain are simple: networks that
train on them are of no use elsewhere.
"""

import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets_prep.bicubic import downscale
from datasets_prep.demo_set import VALIDATION_CROPS, photograph, train_entries
from datasets_prep.lmdb_writer import LmdbWriter
from datasets_prep.sub_images import Grid

Image = NDArray[Any]

SCALES = (2, 3, 4)
MULTIPLE = math.lcm(*SCALES)
GRID = Grid(crop_size=12 * MULTIPLE, step=8 * MULTIPLE)
NOISE = 3.0
"""Standard deviation of the noise of dark images, 8-bit gray levels."""
STREAK = 17
"""Length of a streak of rain, pixels."""


def prepare_photographs(out: Path) -> None:
    """Write `out`/train and `out`/val, each with HR.lmdb, LR_bicubic_X{2,3,4}.lmdb, dark.lmdb, rainy.lmdb.

    Existing ones are kept.
    """
    for part, entries in (("train", train_entries(GRID)), ("val", _validation_entries())):
        missing = {name: make for name, make in DEGRADED.items() if not (out / part / f"{name}.lmdb").is_dir()}
        if not missing:
            continue
        with ExitStack() as stack:
            writers = {name: stack.enter_context(LmdbWriter(out / part / f"{name}.lmdb")) for name in missing}
            for key, image in entries:
                for name, make in missing.items():
                    writers[name].put(key, make(image, key))


def _validation_entries() -> Iterator[tuple[str, Image]]:
    for name, (top, left, height, width) in VALIDATION_CROPS.items():
        bottom, right = top + height - height % MULTIPLE, left + width - width % MULTIPLE
        yield name, photograph(name)[top:bottom, left:right]


def _random(key: str) -> np.random.RandomState:
    """Random numbers of an image, the same with every version of NumPy."""
    return np.random.RandomState(zlib.crc32(key.encode()))


def darkened(image: Image, key: str) -> Image:
    """Darken an image, most in its shadows, and add noise.

    Args:
        image: (H, W, 3), uint8.
        key: Its key, which decides how dark it becomes.
    """
    random = _random(key)
    values = 255 * random.uniform(0.1, 0.3) * (image / 255) ** 1.5
    noisy: Image = np.clip(np.rint(values + random.normal(0, NOISE, image.shape)), 0, 255).astype(np.uint8)
    return noisy


def rained(image: Image, key: str) -> Image:
    """Let it rain: bright streaks of one direction in an image.

    Args:
        image: (H, W, 3), uint8.
        key: Its key, which decides on the rain.
    """
    random = _random(key)
    drops = (random.rand(*image.shape[:2]) < random.uniform(0.001, 0.004)) * random.uniform(60, 140)
    places = np.arange(STREAK) - STREAK // 2
    kernel = np.zeros((STREAK, STREAK), np.float32)
    kernel[places + STREAK // 2, np.rint(places * random.uniform(-0.5, 0.5)).astype(int) + STREAK // 2] = 1
    streaks = cv2.filter2D(drops.astype(np.float32), -1, cv2.GaussianBlur(kernel, (3, 3), 0.8))
    rainy: Image = np.clip(np.rint(image + streaks[..., None]), 0, 255).astype(np.uint8)
    return rainy


def _reduced(scale: int) -> Callable[[Image, str], Image]:
    return lambda image, _: downscale(image, scale)


DEGRADED: dict[str, Callable[[Image, str], Image]] = {
    "HR": lambda image, _: image,
    **{f"LR_bicubic_X{scale}": _reduced(scale) for scale in SCALES},
    "dark": darkened,
    "rainy": rained,
}
"""Name of an LMDB -> function of an image and its key."""
