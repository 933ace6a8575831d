"""How much space a preparation takes, said before anything is written."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from datasets_prep.gathering import Item
from datasets_prep.work import Job, make
from ramit_model.system.errors import InputError

SPARE = 1.1
"""Free space to ask for, over the estimate."""

PAGE = 4096
"""Bytes that LMDB and file systems round an entry up to."""

RAW = 3.0
"""Bytes a pixel, where no image could be tried."""


def space_needed(items: Sequence[Item], sizes: Sequence[tuple[int, int]], job: Job) -> float:
    """Bytes that all outputs of a job will take, extrapolated from a few images.

    Args:
        items: Images.
        sizes: Height and width of the ground truth of each, pixels.
        job: What is made of them.
    """
    amounts = [_pixels_and_entries(size, job) for size in sizes]
    samples = range(0, len(items), max(1, len(items) // 4)) if len(items) >= 20 else range(1)
    bytes_, pixels = 0, 0.0
    for index in samples:
        entries = [entry for entries in make(items[index], job).entries.values() for entry in entries]
        bytes_ += sum(len(content) for _, content in entries)
        pixels += amounts[index][0] if entries else 0
    rate = bytes_ / pixels if pixels else RAW
    return sum(rate * area + PAGE * count for area, count in amounts)


def _pixels_and_entries(size: tuple[int, int], job: Job) -> tuple[float, int]:
    height, width = (length - length % job.multiple for length in size)
    boxes = [(0, 0, height, width)] if job.grid is None else job.grid.boxes(height, width, job.multiple)
    share = sum(1 / output.scale**2 for output in job.outputs)
    return share * sum(box[2] * box[3] for box in boxes), len(boxes) * len(job.outputs)


def require_space(need: float, folder: Path, what: str) -> None:
    """Make sure that `need` bytes, and some more, are free.

    Args:
        need: Bytes.
        folder: Where they will be written; it need not be there yet.
        what: Begins the message.

    Raises:
        InputError: They are not.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if SPARE * need > free:
        raise InputError(
            f"{existing}: {what} needs about {readable(SPARE * need)}, but only {readable(free)} are free; make room, "
            "or choose another --out"
        )


def readable(size: float) -> str:
    """Bytes in words: 1.5 GB."""
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"
