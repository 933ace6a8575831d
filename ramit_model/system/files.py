"""Files that appear whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path


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


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed process left in `folder`."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)
