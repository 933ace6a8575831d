"""The images of the data sets to evaluate, each read once before anything is measured."""

import hashlib
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from ramit_model.basicsr_bridge import build_dataset, tensor2img
from ramit_model.benchmark.plan import Plan
from ramit_model.config.option_file import Options
from ramit_model.inference.evaluation import Picture, image_names
from ramit_model.system.occasional import bar_options
from ramit_model.system.text import escaped


@dataclass(frozen=True)
class EvalImage:
    """An image of an image set.

    Attributes:
        index: Position in the set, from 0.
        name: Name of the image; bytes that are no text are escaped.
        digest: SHA-256 of the LQ and GT pixels, noise included.
    """

    index: int
    name: str
    digest: str


@dataclass(frozen=True)
class ImageSet:
    """An image set: its option block, the images to measure, and the number of all its images."""

    block: Options
    images: Sequence[EvalImage]
    image_count: int

    @property
    def name(self) -> str:
        """Name in the option file."""
        return str(self.block["name"])


def read_sets(plan: Plan) -> list[ImageSet]:
    """Read every image of every set once, so that a bad one is found before hours of work.

    Raises:
        InputError: An image cannot be used.
    """
    return [_read_set(block, plan.limit) for block in plan.datasets]


def _read_set(block: Options, limit: int | None) -> ImageSet:
    dataset = build_dataset(deepcopy(block))
    for remark in getattr(dataset, "remarks", ()):  # data sets of BasicSR's have none
        print(f"basicsr benchmark: {remark}", file=sys.stderr)
    count = len(dataset) if limit is None else min(limit, len(dataset))
    names = [escaped(name) for name in image_names(dataset)]
    images = []
    for index, data in enumerate(
        tqdm(single_images(dataset, range(count)), desc=f"read {block['name']}", **bar_options())
    ):
        digest = hashlib.sha256(data["lq"].numpy().tobytes() + data["gt"].numpy().tobytes()).hexdigest()
        images.append(EvalImage(index, names[index], digest))
    return ImageSet(block, images, len(dataset))


def single_images(dataset: Any, indices: Sequence[int]) -> DataLoader[Any]:
    """Batches of one image each, in the order of `indices`."""
    return DataLoader(Subset(dataset, indices))


def read_gt(image_set: ImageSet, image: EvalImage) -> Picture:
    """Ground truth of an image as the metrics see it, 8-bit, (H, W, 3) BGR or (H, W)."""
    data = next(iter(single_images(build_dataset(deepcopy(image_set.block)), [image.index])))
    picture: Picture = tensor2img([data["gt"]])
    return picture
