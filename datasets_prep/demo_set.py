"""Data set for the demo: photographs inside scikit-image's wheel, as LMDBs for super-resolution x2."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import skimage.data
from numpy.typing import NDArray

from datasets_prep.image_files import Treatment, decode
from datasets_prep.lmdb_writer import write_pairs
from datasets_prep.sub_images import Grid, sub_image_key

TRAIN_IMAGES = ("astronaut", "rocket", "motorcycle_left", "motorcycle_right", "ihc")
VALIDATION_CROPS = {"coffee": (40, 150, 240, 320), "chelsea": (40, 90, 200, 260)}
"""Image -> top, left, height, width of the crop, in pixels."""

GRID = Grid(crop_size=128, step=96)
SCALE = 2


def photograph(name: str) -> NDArray[Any]:
    """Read one of scikit-image's photographs, (H, W, 3) BGR uint8."""
    # Read from the wheel itself: skimage.data's functions would fetch what a wheel lacks from the network.
    folder = Path(skimage.data.__file__).parent
    path = next(p for p in (folder / f"{name}.png", folder / f"{name}.jpg") if p.is_file())
    return decode(path.read_bytes(), Treatment()).image


def train_entries(grid: Grid) -> Iterator[tuple[str, NDArray[Any]]]:
    """Keys and sub-images of the photographs to train on."""
    for name in TRAIN_IMAGES:
        image = photograph(name)
        for index, (top, left, height, width) in enumerate(grid.boxes(*image.shape[:2])):
            yield sub_image_key(name, index), image[top : top + height, left : left + width]


def _validation_entries() -> Iterator[tuple[str, NDArray[Any]]]:
    for name, (top, left, height, width) in VALIDATION_CROPS.items():
        yield name, photograph(name)[top : top + height, left : left + width]


def prepare_demo_set(out: Path) -> None:
    """Write `out`/train and `out`/val, each with HR.lmdb and LR_bicubic_X2.lmdb; existing ones are kept."""
    for part, entries in (("train", train_entries(GRID)), ("val", _validation_entries())):
        if not (out / part / f"LR_bicubic_X{SCALE}.lmdb").is_dir() or not (out / part / "HR.lmdb").is_dir():
            write_pairs(entries, out / part, scale=SCALE)
