"""Files that appear whole or not at all, and journals that a kill cannot spoil."""

import csv
import errno
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ramit_model.system.errors import InputError
from ramit_model.system.text import escaped

MAX_NAME = 255
"""Bytes of the longest file name on Linux, macOS and Windows."""

FATAL = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG, errno.ENOTDIR)
)
"""Errors of writing that the next file would meet, too."""


def write_atomically(
    content: bytes | bytearray | memoryview | Iterable[bytes | memoryview], path: str | os.PathLike[str]
) -> None:
    """Write under a temporary name in the same folder, flush to the disk, then rename to `path`.

    Args:
        content: The whole content, or its parts one after another.
        path: File to write; its folder must exist.

    Raises:
        OSError: The file could not be written; `path` is as it was before.
    """
    path = Path(path)
    parts = [content] if isinstance(content, bytes | bytearray | memoryview) else content
    temporary = path.with_name(f"{temporary_prefix(path)}{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # a full disk is reported without a name, others with that of the temporary file
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_folder(path: str | os.PathLike[str]) -> None:
    """Check that a folder is there and can be written into, or that it can be made; makes nothing.

    Raises:
        InputError: It or a folder above it is a file, a symbolic link to nowhere, or protected.
    """
    path = Path(path)
    place = next(p for p in (path, *path.absolute().parents) if os.path.lexists(p))
    if not place.is_dir():
        what = "a symbolic link that leads nowhere" if place.is_symlink() else "a file"
        raise InputError(f"{place}: is {what}, where a folder is needed; remove or rename it, or choose another folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{place}: nothing can be written there (no permission); choose another folder")


def temporary_prefix(path: Path) -> str:
    """Beginning of the names under which a file is written at first."""
    prefix = f".{path.name}."
    if len(os.fsencode(prefix)) + len("4194304.tmp") <= MAX_NAME:
        return prefix
    # A name that just fits must not fail for what is added to it.
    return f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]}."


def write_text_atomically(text: str, path: str | os.PathLike[str]) -> None:
    r"""Write text as UTF-8, whole or not at all; the bytes of file names that are no text become `\xff`.

    Raises:
        OSError: The file could not be written; `path` is as it was before.
    """
    write_atomically(escaped(text).encode(), path)


def write_csv_atomically(rows: Iterable[Iterable[Any]], path: str | os.PathLike[str]) -> None:
    """Write rows as CSV (UTF-8, line feeds), whole or not at all; see `write_text_atomically`.

    Raises:
        OSError: The file could not be written; `path` is as it was before.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text_atomically(text.getvalue(), path)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed process left in `folder`."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


class JsonLines:
    """Append-only file with one JSON value on each line.

    Values are not kept in memory: `replay` takes from them what it needs, and `read` finds one again by its place.

    Args:
        path: Created if it does not exist. A line that a kill cut short is dropped, and so is everything from the first
            broken line on: the file is truncated there.
        replay: Called with the place and the value of each whole line, in order. A ValueError, TypeError or KeyError
            from it means that the line is broken.
    """

    def __init__(self, path: Path, replay: Callable[[int, Any], None]) -> None:
        self._file = path.open("a+b")
        self._file.seek(0)
        end = 0
        for line in self._file:
            try:
                replay(end, json.loads(line if line.endswith(b"\n") else b""))
            except (ValueError, TypeError, KeyError, RecursionError):
                break
            end += len(line)
        self._file.truncate(end)

    def append(self, *values: Any) -> list[int]:
        """Add a line for each value; all are on the disk when this returns.

        Returns:
            The place of each line, for `read`.
        """
        places = []
        end = self._file.seek(0, os.SEEK_END)
        for value in values:
            places.append(end)
            end += self._file.write(json.dumps(value).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        return places

    def read(self, place: int) -> Any:
        """Read the value of the line at `place`."""
        self._file.seek(place)
        return json.loads(self._file.readline())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
