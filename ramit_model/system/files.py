"""Files that appear whole or not at all."""

import csv
import io
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any


def write_atomically(content: bytes | memoryview, path: str | os.PathLike[str]) -> None:
    """Write under a temporary name in the same folder, flush to the disk, then rename to `path`.

    Raises:
        OSError: The file could not be written; `path` is as it was before.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_csv_atomically(rows: Iterable[Iterable[Any]], path: str | os.PathLike[str]) -> None:
    """Write rows as CSV (UTF-8, line feeds), whole or not at all.

    Raises:
        OSError: The file could not be written; `path` is as it was before.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_atomically(text.getvalue().encode(), path)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed process left in `folder`."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)
