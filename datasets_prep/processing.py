"""Processes one image in any process: decode, check, downscale, cut, encode."""

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets_prep.bicubic import crop_to_multiple, downscale
from datasets_prep.gathering import Item
from datasets_prep.image_files import Treatment, decode, encode_png
from datasets_prep.image_formats import ImageError
from datasets_prep.manifest import Record
from datasets_prep.sources import read
from datasets_prep.sub_images import Grid, sub_image_key
from ramit_model.system.errors import InputError

Image = NDArray[np.uint8]

MAX_DIFFERENCE = 1.0
"""Largest mean difference of a given LR image from our own, in 8-bit gray levels."""


@dataclass(frozen=True)
class Output:
    """Data set to write: role, path, and the size of the ground truth over its own."""

    role: str
    path: str
    scale: int = 1

    @property
    def suffix(self) -> str:
        """Suffix of the key in the file names of LR images in folders, as all published sets have it."""
        return self.role if self.role.startswith("x") and not self.is_lmdb else ""

    @property
    def is_lmdb(self) -> bool:
        """Whether it is an LMDB, not a folder of PNG files."""
        return self.path.endswith(".lmdb")


@dataclass(frozen=True)
class Job:
    """Settings for processing an image; the same for the whole set.

    Attributes:
        outputs: Sets to write.
        multiple: Ground truth is cropped to multiples of it.
        pair_scale: Size of ground truth over that of the LQ images of pairs.
        grid: How sub-images are cut; None keeps images whole.
        compress_level: Compression level of the PNGs, 0 to 9.
        treatment: How unusual images are handled.
    """

    outputs: tuple[Output, ...]
    multiple: int = 1
    pair_scale: int = 1
    grid: Grid | None = None
    compress_level: int = 1
    treatment: Treatment = field(default_factory=Treatment)

    def settings(self) -> dict[str, object]:
        """Everything that the content depends on beside the images, as plain data."""
        settings = asdict(self)
        del settings["outputs"]
        return settings


def role_scale(role: str, pair_scale: int) -> int:
    """Size of ground truth over that of images of a role (gt, lq, x2, ...)."""
    return pair_scale if role == "lq" else int(role[1:]) if role.startswith("x") else 1


class Processed(NamedTuple):
    """Result for one image: role -> entries and their PNG files; what was changed; why it cannot be used."""

    entries: dict[str, list[tuple[Record, bytes]]]
    notes: list[str]
    problems: list[str]


def process(item: Item, job: Job) -> Processed:
    """Produce all entries of one image.

    Returns:
        Entries, or problems: a line for each file that cannot be used.
    """
    images: dict[str, Image] = {}
    notes: list[str] = []
    problems: list[str] = []
    for role, member in item.files.items():
        try:
            images[role], changes = decode(read(member), job.treatment)
            notes += [change for change in changes if change not in notes]
        except ImageError as error:
            problems.append(f"{member.where}: {error}")
        except InputError as error:
            problems += str(error).splitlines()
    if not problems:
        problems = _check(item, images, job)
    if problems:
        return Processed({}, [], problems)
    gt = crop_to_multiple(images["gt"], job.multiple)
    return Processed({o.role: _entries(item.key, _image(images, gt, o), gt, o, job) for o in job.outputs}, notes, [])


WRONG_PAIR = "a wrong pair?"
"""End of a line about sizes that do not fit each other."""


def size_problem(item: Item, sizes: dict[str, tuple[int, int]], job: Job) -> str | None:
    """Describe why the sizes (height, width) of an item's files do not fit, or return None."""
    height, width = sizes["gt"]
    where = item.files["gt"].where
    least = max(job.multiple, *(output.scale for output in job.outputs))
    if min(height, width) < least:
        return f"{where}: {height}x{width} is smaller than {least} pixels; remove it"
    for role, size in sizes.items():
        scale = role_scale(role, job.pair_scale)
        if size != (height // scale, width // scale):
            file = item.files[role].where
            if scale == 1:
                return f"{file}: is {size[0]}x{size[1]}, but {where} {height}x{width}; {WRONG_PAIR}"
            return f"{file}: is {size[0]}x{size[1]}, but {where} {height}x{width}, scale {scale}; {WRONG_PAIR}"
    return None


def _check(item: Item, images: dict[str, Image], job: Job) -> list[str]:
    problem = size_problem(item, {role: image.shape[:2] for role, image in images.items()}, job)
    if problem:
        return [problem]
    problems = []
    for role, given in images.items():
        if not role.startswith("x"):
            continue
        scale = role_scale(role, job.pair_scale)
        ours = downscale(crop_to_multiple(images["gt"], scale), scale)
        difference = float(np.abs(given.astype(np.int16) - ours).mean())
        if difference > MAX_DIFFERENCE:
            problems.append(
                f"{item.files[role].where}: is not the bicubic LR image of {item.files['gt'].where} (on average "
                f"{difference:.1f} gray levels off): a wrong pair? leave the LR images out to have them computed"
            )
    return problems


def _image(images: dict[str, Image], gt: Image, output: Output) -> Image:
    if output.role == "gt":
        return gt
    height, width = gt.shape[0] // output.scale, gt.shape[1] // output.scale
    if output.role in images:
        return images[output.role][:height, :width]
    return downscale(crop_to_multiple(gt, output.scale), output.scale)


def _entries(key: str, image: Image, gt: Image, output: Output, job: Job) -> list[tuple[Record, bytes]]:
    if job.grid is None:
        return [_encode(key + output.suffix, image, job.compress_level)]
    entries = []
    for index, box in enumerate(job.grid.boxes(gt.shape[0], gt.shape[1], job.multiple)):
        top, left, height, width = (length // output.scale for length in box)
        patch = image[top : top + height, left : left + width]
        entries.append(_encode(sub_image_key(key, index), patch, job.compress_level))
    return entries


def _encode(key: str, image: Any, compress_level: int) -> tuple[Record, bytes]:
    content = encode_png(np.ascontiguousarray(image), compress_level)
    height, width, channels = (*image.shape, 1)[:3]
    return Record(key, (height, width, channels), hashlib.sha256(content).hexdigest()), content
