"""Random training patches: cut out of an image, flipped and turned."""

import random
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

PATCH_DATASETS = ("PairedRestorationDataset", "CleanImageDataset", "PhotoDataset")
"""Data sets indexed by `PatchRequest`; others get BasicSR's own loader."""

SUB_IMAGE = re.compile(r"(?P<image>.+)_s[0-9]{3,}(\.\w+)?")
"""Key or file of a sub-image, as BasicSR's `extract_subimages` names them."""


class PatchRequest(NamedTuple):
    """Training patch to read. Everything random about it comes from its seed, whichever worker reads it."""

    image: int
    """Index of the entry in the data set: an image, or a sub-image of one."""
    patch_size: int
    """Side of the LQ patch, pixels."""
    seed: int

    def generator(self) -> random.Random:
        """Generator of everything random about it."""
        return random.Random(self.seed)  # noqa: S311  no secrets here


def as_request(item: int | PatchRequest, patch_size: int) -> PatchRequest:
    """Request itself; for a bare index, one with a seed from Python's global generator."""
    return item if isinstance(item, PatchRequest) else PatchRequest(item, patch_size, random.getrandbits(48))


def group_sub_images(paths: Iterable[str]) -> list[list[int]]:
    """Find the sub-images of each image.

    Args:
        paths: Keys or files of a data set's entries. NAME_s001, NAME_s002, ... are sub-images of one image; any other
            entry is an image by itself.

    Returns:
        For each image, in the order of their first entries, the indices of its entries in `paths`.
    """
    images: dict[str | int, list[int]] = {}
    for place, path in enumerate(paths):
        match = SUB_IMAGE.fullmatch(path)
        images.setdefault(match["image"] if match else place, []).append(place)
    return list(images.values())


class Cut(NamedTuple):
    """Place and turn of a square patch. Top and left are in LQ pixels, and so is its side."""

    top: int
    left: int
    size: int
    mirror: bool
    flip: bool
    swap: bool

    def window(self, scale: int = 1) -> tuple[slice, slice]:
        """Rows and columns of the patch in an image that is `scale` times as large as LQ."""
        rows, columns = (slice(start * scale, (start + self.size) * scale) for start in (self.top, self.left))
        return rows, columns

    def turned(self, patch: Image) -> Image:
        """View of what `window` cuts out, (H, W, C), mirrored and turned."""
        patch = patch[:, ::-1] if self.mirror else patch
        patch = patch[::-1] if self.flip else patch
        return patch.transpose(1, 0, 2) if self.swap else patch


def random_cut(height: int, width: int, request: PatchRequest, rng: random.Random, *, hflip: bool, rot: bool) -> Cut:
    """Choose place and turn of a patch.

    Args:
        height: Rows of LQ.
        width: Columns of LQ.
        request: Gives the patch size.
        rng: Source of position and orientation.
        hflip: Mirror left and right in half of the cases.
        rot: Mirror top and bottom, and swap rows and columns, each in half of the cases. With `hflip`, all eight flips
            and right-angle turns are equally frequent.
    """
    size = request.patch_size
    top, left = rng.randint(0, height - size), rng.randint(0, width - size)
    mirror, flip, swap = hflip and rng.random() < 0.5, rot and rng.random() < 0.5, rot and rng.random() < 0.5
    return Cut(top, left, size, mirror, flip, swap)


def random_patch(
    lq: Image, gt: Image, request: PatchRequest, rng: random.Random, *, hflip: bool, rot: bool
) -> tuple[Image, Image]:
    """Cut the same random square out of LQ and GT, then flip and turn both alike.

    Args:
        lq: (h, w, C).
        gt: (h * scale, w * scale, C), for any whole scale.
        request: Gives the patch size.
        rng: Source of position and orientation.
        hflip: See `random_cut`.
        rot: See `random_cut`.

    Returns:
        LQ (patch, patch, C) and GT (patch * scale, patch * scale, C); both are views.
    """
    height, width = lq.shape[:2]
    cut = random_cut(height, width, request, rng, hflip=hflip, rot=rot)
    return cut.turned(lq[cut.window()]), cut.turned(gt[cut.window(gt.shape[0] // lq.shape[0])])
