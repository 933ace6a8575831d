"""Random training patches: which one, cut out of how large an image, flipped and turned how."""

import random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

DRAWN = ("PairedRestorationDataset", "CleanImageDataset")
"""Data sets whose training patches are taken by `Draw`; others get BasicSR's own loader."""


class Draw(NamedTuple):
    """One training patch to take. Everything random about it comes from its seed, whichever worker takes it."""

    image: int
    """Which image of the data set."""
    patch_size: int
    """Side of the LQ patch, pixels."""
    seed: int

    def generator(self) -> random.Random:
        """The source of everything random about it."""
        return random.Random(self.seed)  # noqa: S311  no secrets here


def as_draw(item: int | Draw, patch_size: int) -> Draw:
    """The draw itself; for a bare index, one with a seed from Python's global generator."""
    return item if isinstance(item, Draw) else Draw(item, patch_size, random.getrandbits(48))


def random_patch(
    lq: Image, gt: Image, draw: Draw, rng: random.Random, *, hflip: bool, rot: bool
) -> tuple[Image, Image]:
    """Cut the same random square out of LQ and GT, then flip and turn both alike.

    Args:
        lq: (h, w, C).
        gt: (h * scale, w * scale, C), for any whole scale.
        draw: Its patch size is taken.
        rng: Source of place and turn.
        hflip: Mirror left and right in half of the cases.
        rot: Mirror top and bottom, and swap rows and columns, each in half of the cases. With `hflip`, all eight flips
            and right-angle turns are equally frequent.

    Returns:
        LQ (patch, patch, C) and GT (patch * scale, patch * scale, C); both are views.
    """
    size, scale = draw.patch_size, gt.shape[0] // lq.shape[0]
    top, left = rng.randint(0, lq.shape[0] - size), rng.randint(0, lq.shape[1] - size)
    mirror, flip, swap = hflip and rng.random() < 0.5, rot and rng.random() < 0.5, rot and rng.random() < 0.5

    def cut(image: Image, factor: int) -> Image:
        rows, columns = (slice(start * factor, (start + size) * factor) for start in (top, left))
        patch = image[rows, columns]
        patch = patch[:, ::-1] if mirror else patch
        patch = patch[::-1] if flip else patch
        return patch.transpose(1, 0, 2) if swap else patch

    return cut(lq, 1), cut(gt, scale)
