"""Writes image LMDBs as BasicSR reads them: whole or not at all, with a map that grows as needed."""

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import lmdb
from numpy.typing import NDArray

from datasets_prep.errors import SourceError

START_SIZE = 64 * 2**20
"""First size of the map in bytes; it doubles whenever it is full."""

IMAGES_A_COMMIT = 256


class LmdbWriter:
    """Collects images under a temporary name; leaving the `with` block without an exception makes the LMDB appear.

    The result is a folder with `data.mdb` (key -> PNG file) and `meta_info.txt` (a line `key.png (h,w,c) level` each).

    Args:
        path: Folder to write; its name ends in `.lmdb`. An existing one is replaced once the new one is whole.
        compress_level: Of the PNGs, 0 (fast, large) to 9 (slow, small).

    Raises:
        SourceError: The name does not end in `.lmdb`.
    """

    def __init__(self, path: str | os.PathLike[str], *, compress_level: int = 1) -> None:
        self.path = Path(path)
        if self.path.suffix != ".lmdb":
            raise SourceError(f"{path}: an LMDB folder must end in .lmdb; rename the output")
        self.compress_level = compress_level
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        self._meta_info: dict[str, str] = {}

    def __enter__(self) -> "LmdbWriter":
        self._temporary.mkdir(parents=True)
        self._environment = lmdb.open(str(self._temporary), map_size=START_SIZE)
        self._pending: list[tuple[bytes, bytes]] = []
        return self

    def put(self, key: str, image: NDArray[Any]) -> None:
        """Add an image.

        Args:
            key: Name without extension, ASCII and without dots (BasicSR cuts keys at the first dot).
            image: (H, W), (H, W, 1) or (H, W, 3) in BGR, uint8 or uint16.

        Raises:
            SourceError: The key is there already or cannot be a key.
        """
        if key in self._meta_info:
            raise SourceError(f"{self.path}: two images are called {key}; rename one")
        if not key.isascii() or "." in key or not key:
            raise SourceError(f"{self.path}: {key!r} cannot be a key; use ASCII names without dots")
        height, width, channels = (*image.shape, 1)[:3]
        _, content = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, self.compress_level])
        self._meta_info[key] = f"{key}.png ({height},{width},{channels}) {self.compress_level}\n"
        self._pending.append((key.encode(), content.tobytes()))
        if len(self._pending) >= IMAGES_A_COMMIT:
            self._commit()

    def _commit(self) -> None:
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, content in self._pending:
                        transaction.put(key, content)
            except lmdb.MapFullError:
                self._environment.set_mapsize(2 * self._environment.info()["map_size"])
            else:
                self._pending.clear()
                return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._commit()
                (self._temporary / "meta_info.txt").write_text("".join(self._meta_info.values()))
        finally:
            self._environment.close()
            if kind is None and (self._temporary / "meta_info.txt").is_file():
                if self.path.exists():
                    shutil.rmtree(self.path)
                self._temporary.rename(self.path)
            else:
                shutil.rmtree(self._temporary, ignore_errors=True)
