"""Writes image LMDBs as BasicSR reads them, with a map that grows as needed."""

import errno
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import lmdb
from numpy.typing import NDArray

from datasets_prep.bicubic import downscale
from datasets_prep.image_files import encode_png
from ramit_model.system.errors import InputError
from ramit_model.system.files import write_atomically

START_SIZE = 64 * 2**20
"""First size of the map in bytes; it doubles whenever it is full."""

BYTES_A_COMMIT = 32 * 2**20


class DamagedStoreError(InputError):
    """Error for entries on the disk that are not those that were written."""


class LmdbStore:
    """Open LMDB to write to or read from: key -> PNG file.

    Args:
        path: Folder; created if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._environment = self._open()

    def _open(self) -> lmdb.Environment:
        existing = self.path / "data.mdb"
        size = max(START_SIZE, 2 * existing.stat().st_size if existing.exists() else 0)
        try:
            return lmdb.open(os.fsencode(self.path), map_size=size)  # as bytes: it refuses names that are no text
        except lmdb.Error as error:
            raise _as_known_error(error, self.path) from error

    def put(self, entries: Iterable[tuple[str, bytes]]) -> None:
        """Write entries to the disk, all or none; existing ones are replaced.

        Raises:
            OSError: The disk is full.
        """
        entries = list(entries)
        try:
            self._write(lambda transaction: [transaction.put(key.encode(), content) for key, content in entries])
        except OSError as error:
            if error.errno == errno.EIO:
                _try_to_write((content for _, content in entries), self.path)
            raise

    def remove(self, keys: Iterable[str]) -> None:
        """Remove entries; those that are not there are passed over.

        Raises:
            OSError: The disk is full.
        """
        keys = list(keys)
        self._write(lambda transaction: [transaction.delete(key.encode()) for key in keys])

    def _write(self, change: Callable[[lmdb.Transaction], object]) -> None:
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    change(transaction)
                return
            except lmdb.MapFullError:
                self._environment.set_mapsize(2 * self._environment.info()["map_size"])
            except lmdb.Error as error:
                raise _as_known_error(error, self.path) from error

    def get(self, key: str) -> bytes | None:
        """Read the PNG file of an entry, or return None.

        Raises:
            InputError: The LMDB is damaged.
        """
        try:
            with self._environment.begin() as transaction:
                content: bytes | None = transaction.get(key.encode())
                return content
        except lmdb.Error as error:
            raise _as_known_error(error, self.path) from error

    def release(self) -> None:
        """Unmap what was read, which an open LMDB keeps in memory."""
        self._environment.close()
        self._environment = self._open()

    def __len__(self) -> int:
        entries: int = self._environment.stat()["entries"]
        return entries

    def write_meta_info(self, lines: Iterable[tuple[str, tuple[int, int, int], int]]) -> None:
        """Write BasicSR's list of the entries: key, height, width and channels, compression level."""
        write_atomically(
            (f"{key}.png ({h},{w},{c}) {level}\n".encode("ascii") for key, (h, w, c), level in lines),
            self.path / "meta_info.txt",
        )

    def close(self) -> None:
        """Close it; BasicSR opens without a lock file, so none is left."""
        last_page, page_size = self._environment.info()["last_pgno"], self._environment.stat()["psize"]
        self._environment.close()
        # LMDB leaves out free pages at the end; a file that lacks some is one that was cut short, for `prepare check`.
        data = self.path / "data.mdb"
        os.truncate(data, max(data.stat().st_size, (last_page + 1) * page_size))
        (self.path / "lock.mdb").unlink(missing_ok=True)


def _as_known_error(error: lmdb.Error, path: Path) -> OSError | InputError:
    """Turn an LMDB error into the system's error that its message ends with, or into an InputError."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES):
        if os.strerror(number) in str(error):
            return OSError(number, os.strerror(number), str(path))
    reason = str(error).split(": ")[-1]
    return DamagedStoreError(f"{path}: cannot be used as an LMDB ({reason}); remove it and start again")


def _try_to_write(contents: Iterable[bytes], folder: Path) -> None:
    """Write to a probe file, to raise the system's own error: LMDB calls a full disk an I/O error."""
    probe = folder / "probe"
    try:
        with probe.open("wb") as file:
            file.writelines(contents)
    except OSError as error:
        error.filename = str(folder)
        raise
    finally:
        probe.unlink(missing_ok=True)


class LmdbWriter:
    """Writer of a whole LMDB under a temporary name; it appears when the `with` block ends without an exception.

    Args:
        path: Folder to write; its name ends in `.lmdb`. An existing one is replaced once the new one is whole.
        compress_level: Compression level of the PNGs, 0 (fast, large) to 9 (slow, small).

    Raises:
        InputError: The name does not end in `.lmdb`.
    """

    def __init__(self, path: str | os.PathLike[str], *, compress_level: int = 1) -> None:
        self.path = Path(path)
        if self.path.suffix != ".lmdb":
            raise InputError(f"{path}: an LMDB folder must end in .lmdb; rename the output")
        self.compress_level = compress_level
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        self._sizes: dict[str, tuple[int, int, int]] = {}
        self._pending: list[tuple[str, bytes]] = []

    def __enter__(self) -> "LmdbWriter":
        self._store = LmdbStore(self._temporary)
        return self

    def put(self, key: str, image: NDArray[Any]) -> None:
        """Add an image.

        Args:
            key: Name without extension, ASCII and without dots (BasicSR cuts keys at the first dot).
            image: (H, W), (H, W, 1) or (H, W, 3) in BGR, uint8 or uint16.

        Raises:
            InputError: The key exists already or is not a valid key.
        """
        if key in self._sizes:
            raise InputError(f"{self.path}: two images are called {key}; rename one")
        if not key.isascii() or "." in key or not key:
            raise InputError(f"{self.path}: {key!r} is not a valid key; use ASCII names without dots")
        height, width, channels = (*image.shape, 1)[:3]
        self._sizes[key] = (height, width, channels)
        self._pending.append((key, encode_png(image, self.compress_level)))
        if sum(len(content) for _, content in self._pending) >= BYTES_A_COMMIT:
            self._commit()

    def _commit(self) -> None:
        self._store.put(self._pending)
        self._pending.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        whole = False
        try:
            if kind is None:
                self._commit()
                self._store.write_meta_info((key, size, self.compress_level) for key, size in self._sizes.items())
                whole = True
        finally:
            self._store.close()
            if whole:
                if self.path.exists():
                    shutil.rmtree(self.path)
                self._temporary.rename(self.path)
            else:
                shutil.rmtree(self._temporary, ignore_errors=True)


def write_pairs(entries: Iterable[tuple[str, NDArray[Any]]], out: Path, *, scale: int) -> int:
    """Write HR images and their bicubic LR images into two LMDBs with the same keys.

    Args:
        entries: Key and HR image, (H, W, 3) BGR uint8, H and W multiples of `scale`.
        out: Folder; gets HR.lmdb and LR_bicubic_X{scale}.lmdb.
        scale: Scale of super-resolution.

    Returns:
        Number of entries written.
    """
    count = 0
    with LmdbWriter(out / "HR.lmdb") as hr, LmdbWriter(out / f"LR_bicubic_X{scale}.lmdb") as lr:
        for key, image in entries:
            hr.put(key, image)
            lr.put(key, downscale(image, scale))
            count += 1
    return count
