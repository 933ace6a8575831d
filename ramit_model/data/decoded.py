"""Decoded photos as files that every reading process maps into its memory, so that a photo is decoded once."""

import hashlib
import io
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from ramit_model.data.patches import Image
from ramit_model.system.errors import InputError, one_line
from ramit_model.system.files import check_folder, write_atomically

CHANNELS = 3


class DecodedPhotos:
    """Folder of decoded photos, one `.npy` file each, bounded in bytes.

    A training reads small patches at random places of large photos. Of a mapped file, only the rows of a patch are read
    from the disk; what is read often stays in the page cache, which all processes share and the system bounds. The
    files serve later trainings, too. A photo that has changed gets another file.

    Args:
        folder: Made if needed.
        limit: Most bytes of the folder. It takes no more than half of what would be free without it, either.
        sizes: Photo -> height and width of its decoded form.
        form: Text that tells apart what is made of a photo, for example how it is shrunk.

    Attributes:
        kept: Photos that have room; others are decoded for each patch.
        bytes: What they take.

    Raises:
        InputError: The folder cannot be made or read.
    """

    def __init__(self, folder: Path, limit: int, sizes: Mapping[str, tuple[int, int]], form: str) -> None:
        self.folder, self.sizes, self.form = folder, sizes, form
        self.kept: set[str] = set()
        self.bytes = 0
        self._warned = False
        try:
            check_folder(folder)
            folder.mkdir(parents=True, exist_ok=True)
            present = dict(_files(folder))
            room = min(limit, (shutil.disk_usage(folder).free + sum(present.values())) // 2)
            for path, (height, width) in sizes.items():
                if self.bytes + height * width * CHANNELS <= room:
                    self.bytes += height * width * CHANNELS
                    self.kept.add(path)
            own = {self._file(path) for path in self.kept}
        except OSError as error:
            raise InputError(
                f"{folder}: {one_line(error)}; choose another cache_folder, or write cache_gb: 0"
            ) from None
        self._make_room({file: size for file, size in present.items() if file not in own}, room - self.bytes)

    @staticmethod
    def _make_room(others: Mapping[Path, int], room: int) -> None:
        """Remove files of other trainings, the oldest first, until they fit."""
        left = sum(others.values())
        for file, size in others.items():
            if left <= room:
                return
            with suppress(OSError):  # Windows keeps what another training has mapped
                file.unlink(missing_ok=True)
            left -= size

    def read(self, path: str, decode: Callable[[str], Image]) -> Image:
        """Read a photo, (H, W, 3), which need not be writable; decode and keep it where that has not been done.

        Args:
            path: The photo.
            decode: Decodes it.

        Raises:
            InputError: `decode` does.
        """
        if path not in self.kept:
            return decode(path)
        try:
            file = self._file(path)
        except OSError:
            return decode(path)  # says what is wrong with it
        with suppress(OSError, ValueError, EOFError):  # not there, or damaged
            mapped = np.load(file, mmap_mode="r", allow_pickle=False)
            if mapped.dtype == np.uint8 and mapped.shape == (*self.sizes[path], CHANNELS):
                return np.asarray(mapped)
        image = decode(path)
        try:
            self._write(image, file)
        except OSError as error:
            # The training can do without, only slower.
            if not self._warned:
                logging.getLogger("basicsr").warning(f"{one_line(error)}: photos are decoded again for each patch")
            self._warned = True
        return image

    def _write(self, image: Image, file: Path) -> None:
        header = io.BytesIO()
        image = np.ascontiguousarray(image)
        np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(image))
        write_atomically([header.getvalue(), image.data.cast("B")], file)

    def _file(self, path: str) -> Path:
        """File of a photo as it is now; decoders of another version of OpenCV may differ."""
        status = os.stat(path)  # noqa: PTH116  a string, as all paths of data sets
        facts = (os.path.realpath(path), status.st_size, status.st_mtime_ns, self.form, cv2.__version__)
        return self.folder / f"{hashlib.sha256(os.fsencode(repr(facts))).hexdigest()[:40]}.npy"


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Files in a folder and their sizes, the oldest first; what a kill has left half written is among them."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                status = entry.stat()
                found.append((status.st_mtime_ns, folder / entry.name, status.st_size))
    for _, file, size in sorted(found):
        yield file, size
