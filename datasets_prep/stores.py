"""Where prepared images go: an LMDB, or a folder of PNG files with the same interface."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from datasets_prep.lmdb_writer import BYTES_A_COMMIT, LmdbStore
from ramit_model.system.files import remove_leftovers, write_atomically

__all__ = ["BYTES_A_COMMIT", "FolderStore", "LmdbStore", "Store", "open_store"]


class FolderStore:
    """A folder of PNG files, written as `LmdbStore` is.

    Args:
        path: Folder; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        self.path = path

    def put(self, entries: Iterable[tuple[str, bytes]]) -> None:
        """Write entries to the disk; those that are there are replaced.

        Raises:
            OSError: The disk is full.
        """
        for key, content in entries:
            write_atomically(content, self._file(key))

    def remove(self, keys: Iterable[str]) -> None:
        """Remove entries; those that are not there are passed over."""
        for key in keys:
            self._file(key).unlink(missing_ok=True)

    def get(self, key: str) -> bytes | None:
        """The PNG file of an entry, or None."""
        return self._file(key).read_bytes() if self._file(key).is_file() else None

    def release(self) -> None:
        """Nothing of what was read is kept."""

    def __len__(self) -> int:
        return sum(1 for _ in self.path.glob("*.png"))

    def _file(self, key: str) -> Path:
        return self.path / f"{key}.png"

    def close(self) -> None:
        """Nothing is held open."""


Store: TypeAlias = LmdbStore | FolderStore


def open_store(path: Path) -> Store:
    """The store at `path`, made if it is not there: an LMDB if its name ends in `.lmdb`."""
    return LmdbStore(path) if path.suffix == ".lmdb" else FolderStore(path)
