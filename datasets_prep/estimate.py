"""Estimates how much space a preparation takes, before anything is written."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from datasets_prep.gathering import Item
from datasets_prep.processing import Job, process
from ramit_model.system.errors import InputError

SPARE = 1.1
"""Free space to require, as a multiple of the estimate."""

PAGE = 4096
"""Page size of LMDB and file systems, bytes: an entry takes whole pages."""

RAW = 3.0
"""Bytes a pixel if no image could be tried."""


def space_needed(items: Sequence[Item], sizes: Sequence[tuple[int, int]], job: Job) -> float:
    """Estimate the bytes that all outputs of a job will take, from a few images.

    Args:
        items: Images.
        sizes: Height and width of the ground truth of each, pixels.
        job: How they are processed.
    """
    amounts = [_pixels_and_entries(size, job) for size in sizes]
    samples = range(0, len(items), max(1, len(items) // 4)) if len(items) >= 20 else range(1)
    bytes_, pixels = 0, 0.0
    for index in samples:
        entries = [entry for entries in process(items[index], job).entries.values() for entry in entries]
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
    """Check that `need` bytes, and some more, are free.

    Args:
        need: Bytes.
        folder: Folder to write to; it need not exist yet.
        what: Beginning of the message.

    Raises:
        InputError: There is too little free space.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if SPARE * need > free:
        raise InputError(
            f"{existing}: {what} needs about {readable(SPARE * need)}, but only {readable(free)} are free; make room, "
            "or choose another --out"
        )


def readable(size: float) -> str:
    """Format bytes for people: 1.5 GB."""
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"
