"""A folder of clean images -> LMDBs of HR images and their bicubic LR images."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from datasets_prep.bicubic import crop_to_multiple, downscale
from datasets_prep.errors import SourceError
from datasets_prep.lmdb_writer import LmdbWriter

Image = NDArray[Any]

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """All image files below `folder`, sorted by name.

    Raises:
        SourceError: There is no such folder or no image in it, or two files would get the same key.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder; check --source")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not paths:
        raise SourceError(f"{folder}: no image in it ({', '.join(sorted(SUFFIXES))})")
    first: dict[str, Path] = {}
    clashes = [f"{p}: has the name of {first[p.stem]}; rename one" for p in paths if first.setdefault(p.stem, p) != p]
    if clashes:
        raise SourceError("\n".join(clashes))
    return paths


def read_colour(path: Path) -> Image:
    """An image as BasicSR decodes it: (H, W, 3) BGR uint8.

    Raises:
        SourceError: The file cannot be decoded.
    """
    # imdecode, not imread: imread does not open every name on every system.
    content = np.frombuffer(path.read_bytes(), np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if image is None:
        raise SourceError(f"{path}: no image that can be decoded; replace or remove it")
    return image


def cut_patches(image: Image, size: int, step: int) -> Iterator[Image]:
    """Overlapping squares that cover the image, the last of each row and column flush with its border.

    Args:
        image: (H, W, C), at least `size` pixels high and wide.
        size: Side of a square in pixels.
        step: Distance of neighbours in pixels.
    """
    height, width = image.shape[:2]
    for top in _starts(height, size, step):
        for left in _starts(width, size, step):
            yield image[top : top + size, left : left + size]


def _starts(length: int, size: int, step: int) -> list[int]:
    starts = list(range(0, length - size + 1, step))
    return starts if starts[-1] + size == length else [*starts, length - size]


def prepare_folder(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    scale: int,
    crop_size: int | None = None,
    step: int | None = None,
) -> int:
    """Write `out`/HR.lmdb and `out`/LR_bicubic_X{scale}.lmdb from a folder of clean images.

    Args:
        source: Folder of images, searched with its subfolders.
        out: Folder of the LMDBs.
        scale: Of super-resolution; the HR images are cropped to multiples of it.
        crop_size: Side of sub-images in HR pixels, which train faster than whole photographs; None keeps images whole.
        step: Distance of neighbouring sub-images; by default half their side.

    Returns:
        Number of entries written.

    Raises:
        SourceError: One line for each file that cannot be used; nothing is written then.
    """
    if crop_size is not None and crop_size % scale:
        raise SourceError(f"--crop-size {crop_size} is no multiple of --scale {scale}")
    paths = find_images(source)
    problems: list[str] = []

    def entries() -> Iterator[tuple[str, Image]]:
        for path in tqdm(paths, desc=Path(source).name, unit="image", disable=None):
            try:
                image = read_colour(path)
            except SourceError as error:
                problems.append(str(error))
                continue
            least = crop_size or scale
            if min(image.shape[:2]) < least:
                problems.append(f"{path}: {image.shape[0]}x{image.shape[1]} is smaller than {least} pixels; remove it")
            elif not problems:
                yield from _entries_of(path.stem, image, scale, crop_size, step)
        if problems:
            raise SourceError("\n".join(problems))

    return write_pairs(entries(), out, scale=scale)


def _entries_of(
    name: str, image: Image, scale: int, crop_size: int | None, step: int | None
) -> Iterator[tuple[str, Image]]:
    image = crop_to_multiple(image, scale)
    if crop_size is None:
        yield name, image
        return
    step = (step or crop_size // 2) // scale * scale or scale
    for i, patch in enumerate(cut_patches(image, crop_size, step)):
        yield f"{name}_s{i + 1:03d}", patch


def write_pairs(entries: Iterable[tuple[str, Image]], out: str | os.PathLike[str], *, scale: int) -> int:
    """Write HR images and their bicubic LR images into two LMDBs with the same keys.

    Args:
        entries: Key and HR image, (H, W, 3) BGR uint8, H and W multiples of `scale`.
        out: Folder; gets HR.lmdb and LR_bicubic_X{scale}.lmdb.
        scale: Of super-resolution.

    Returns:
        Number of entries written.
    """
    count = 0
    with LmdbWriter(Path(out) / "HR.lmdb") as hr, LmdbWriter(Path(out) / f"LR_bicubic_X{scale}.lmdb") as lr:
        for key, image in entries:
            hr.put(key, image)
            lr.put(key, downscale(image, scale))
            count += 1
    return count
