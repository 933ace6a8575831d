"""Restoring many files: jobs that are done are skipped, a bad file is named and the rest goes on."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from ramit_model.inference.batch.jobs import Job
from ramit_model.inference.batch.pipeline import Overlapped
from ramit_model.inference.pictures.formats import Format, format_of
from ramit_model.inference.pictures.picture import Picture, PictureError
from ramit_model.inference.pictures.reading import check_size, format_of_content, read_picture
from ramit_model.inference.pictures.writing import encode_picture
from ramit_model.inference.pixels import NotFiniteError
from ramit_model.inference.restorer import Restorer
from ramit_model.system.errors import InputError, one_line
from ramit_model.system.files import FATAL, temporary_prefix, write_atomically
from ramit_model.system.memory import is_out_of_memory
from ramit_model.system.memory_at_hand import memory_at_hand
from ramit_model.system.text import printable

SHARE = 0.25
"""Share of the memory at hand for pictures that wait."""


@dataclass(frozen=True)
class Settings:
    """How pictures are written.

    Attributes:
        quality: See `encode_picture`.
        strip: Whether metadata are dropped, but for the ICC profile.
        threads: Threads that decode, and as many that encode.
        compared: Called with each picture before and after, in any thread; None: nobody asks.
        written: Called after each output has been written, in any thread; None: nobody asks.
    """

    quality: int | None = None
    strip: bool = False
    threads: int = 2
    compared: "Callable[[Job, Picture, Picture], None] | None" = None
    written: Callable[[Job], None] | None = None


class Listener(Protocol):
    """Receiver of what happens."""

    def note(self, job: Job, text: str) -> None:
        """Something about a picture that its owner should know."""

    def failed(self, job: Job, text: str) -> None:
        """A file cannot be restored."""

    def progress(self, share: float) -> None:
        """Share of the present picture that the network has done, 0..1."""

    def processed(self, pixels: int) -> None:
        """The network is through with a picture of so many input pixels."""

    def written(self, job: Job) -> None:
        """An output is whole on the disk."""


@dataclass(frozen=True)
class Restored:
    """A picture before and after, and phrases about it."""

    before: Picture
    after: Picture
    notes: tuple[str, ...]


def restore_files(jobs: Sequence[Job], restorer: Restorer, settings: Settings, listener: Listener) -> None:
    """Restore files; outputs appear whole or not at all.

    Args:
        jobs: Which, and into which.
        restorer: Network.
        settings: See there.
        listener: Told what happens, in the calling thread.

    Raises:
        OSError: Nothing can be written any more; what has been written is whole.
    """

    def read(job: Job, reserve: "Reserve") -> Picture:
        content = read_file(job.source)
        reserve(check_size(content, restorer.scale))
        picture = read_picture(content)
        return picture.stripped() if settings.strip else picture

    def process(_: Job, picture: Picture) -> Restored:
        restored = restore_picture(restorer, picture, listener.progress)
        listener.processed(picture.pixels.shape[0] * picture.pixels.shape[1])
        return restored

    def write(job: Job, restored: Restored) -> tuple[str, ...]:
        content, notes = encode_picture(restored.after, format_of(job.output), settings.quality)
        job.output.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers_of(job.output)
        write_atomically(content, job.output)
        if settings.written is not None:
            settings.written(job)
        if settings.compared is not None:
            settings.compared(job, restored.before, restored.after)
        return restored.notes + notes

    limit = int(SHARE * memory_at_hand())
    work = Overlapped(read, process, write, threads=settings.threads, limit=limit)
    for job, result in work.run(jobs):
        if isinstance(result, Exception):
            listener.failed(job, reason(result))
            continue
        for note in result:
            listener.note(job, note)
        listener.written(job)


def compare_files(jobs: Sequence[Job], compared: Callable[[Job, Picture, Picture], None], listener: Listener) -> None:
    """Compare files that have been restored before."""
    for job in jobs:
        try:
            before, after = (read_picture(read_file(path)) for path in (job.source, job.output))
        except PictureError as error:
            listener.note(job, f"cannot be compared: {error}")
            continue
        if is_multiple(before.size, after.size):
            compared(job, before, after)
        else:
            listener.note(job, f"cannot be compared: {printable(job.output)} is of another picture")


def is_multiple(before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Whether a size (height, width) is another one times a whole number."""
    return before[0] * after[1] == before[1] * after[0] and after[0] % before[0] == 0


def restore_content(
    content: bytes, restorer: Restorer, kind: Format | Literal["same"], settings: Settings
) -> tuple[list[bytes], tuple[str, ...]]:
    """Restore a file that is in memory.

    Args:
        content: The file.
        restorer: Network.
        kind: Format of the result; `same`: that of the content, PNG where it is not written.
        settings: See there.

    Returns:
        The new file in parts, and phrases about what was converted or dropped.

    Raises:
        PictureError, InputError: It cannot be restored.
    """
    check_size(content, restorer.scale)
    picture = read_picture(content)
    restored = restore_picture(restorer, picture.stripped() if settings.strip else picture)
    encoded, notes = encode_picture(
        restored.after, format_of_content(content) if kind == "same" else kind, settings.quality
    )
    return encoded, restored.notes + notes


class Reserve(Protocol):
    """Function that takes memory from the budget."""

    def __call__(self, count: int, /) -> None:
        """Take so many bytes."""


def restore_picture(restorer: Restorer, picture: Picture, progress: Callable[[float], None] | None = None) -> Restored:
    """Restore one picture; `progress` is told the share that the network has done, 0..1."""
    before = restorer.precision

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(done / total)

    pixels, alpha = restorer.restore_planes(picture.pixels, picture.alpha, progress=report)
    notes = picture.notes
    if restorer.precision != before:
        notes += (f"{before} gave values that are not finite; float32 from here on",)
    height, width = pixels.shape[:2]
    metadata = picture.metadata.resized(height, width)
    return Restored(picture, replace(picture, pixels=pixels, alpha=alpha, metadata=metadata, notes=()), notes)


def read_file(path: Path) -> bytes:
    """Content of a file.

    Raises:
        PictureError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise PictureError(f"cannot be read ({error.strerror}); check the file") from error


def reason(error: Exception) -> str:
    """Reason why one file failed.

    Raises:
        Exception: The error itself, where the others would meet it, too, or it is a mistake of this program.
    """
    if isinstance(error, InputError | PictureError):
        return str(error)
    if is_out_of_memory(error):
        return "is too large for the memory at hand; use --tile 256, or a machine with more"
    if isinstance(error, NotFiniteError):
        return f"{error}; check the weights"
    if isinstance(error, OSError) and error.errno not in FATAL:
        return f"cannot be written ({one_line(error)})"
    raise error


def remove_leftovers_of(path: Path) -> None:
    """Remove the temporary files that a killed process left of this output."""
    prefix = temporary_prefix(path)
    with suppress(OSError):
        for entry in os.scandir(path.parent):
            if entry.name.startswith(prefix) and entry.name.endswith(".tmp"):
                Path(entry.path).unlink(missing_ok=True)
