"""Stores of prepared images: an LMDB, or a folder of PNG files with the same interface."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from datasets_prep.lmdb_writer import BYTES_A_COMMIT, DamagedStoreError, LmdbStore
from ramit_model.system.files import remove_leftovers, write_atomically

__all__ = ["BYTES_A_COMMIT", "DamagedStoreError", "FolderStore", "LmdbStore", "Store", "open_store"]


class FolderStore:
    """Folder of PNG files with the interface of `LmdbStore`.

    Args:
        path: Folder; created if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        self.path = path

    def put(self, entries: Iterable[tuple[str, bytes]]) -> None:
        """Write entries to the disk; existing ones are replaced.

        Raises:
            OSError: The disk is full.
        """
        for key, content in entries:
            write_atomically(content, self._file(key))

    def remove(self, keys: Iterable[str]) -> None:
        """Remove entries; missing ones are ignored."""
        for key in keys:
            self._file(key).unlink(missing_ok=True)

    def get(self, key: str) -> bytes | None:
        """Read the PNG file of an entry, or return None."""
        return self._file(key).read_bytes() if self._file(key).is_file() else None

    def release(self) -> None:
        """Do nothing: nothing that was read is kept in memory."""

    def __len__(self) -> int:
        return sum(1 for _ in self.path.glob("*.png"))

    def _file(self, key: str) -> Path:
        return self.path / f"{key}.png"

    def close(self) -> None:
        """Do nothing: no file is open."""


Store: TypeAlias = LmdbStore | FolderStore


def open_store(path: Path) -> Store:
    """Open or create the store at `path`: an LMDB if its name ends in `.lmdb`."""
    return LmdbStore(path) if path.suffix == ".lmdb" else FolderStore(path)
