"""Reads the directories of zips and tars, and decompresses tars; a damaged archive is an error of one line."""

import bz2
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ramit_model.system.errors import InputError
from ramit_model.system.text import printable

Stamp = tuple[int, int]
"""Size in bytes and modification time in ns of a file."""

_Opener = type[gzip.GzipFile] | type[bz2.BZ2File] | type[lzma.LZMAFile]
_OPENERS: dict[bytes, _Opener] = {b"\x1f\x8b": gzip.GzipFile, b"BZh": bz2.BZ2File, b"\xfd7zXZ\x00": lzma.LZMAFile}
_ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
_BLOCK = 2**20

MAX_RATIO, FREE_SIZE = 100, 2**30
"""A compressed tar unpacks to at most its size times the one, or to the other: a few MB can stand for a full disk."""

# Exceptions of the readers of archives when a file is damaged: nearly anything.
_FAILURES = (
    OSError,
    EOFError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    RuntimeError,
    ValueError,
    LookupError,
    ArithmeticError,
)


class Entry(NamedTuple):
    """Member of an archive, image or not, as the archive describes it; `flaw` says why it cannot be read."""

    name: str
    is_file: bool
    size: int
    position: int
    flaw: str


def zip_entries(file: Path) -> list[Entry]:
    """List the members of a zip, by its directory."""
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
    entries = []
    for position, info in enumerate(infos):
        is_file = not stat.S_ISLNK(info.external_attr >> 16)
        flaw = ""
        if info.flag_bits & 1:
            flaw = "is encrypted; unpack it and give the folder"
        elif info.compress_type not in _ZIP_METHODS:
            flaw = f"is compressed by method {info.compress_type}; unpack it with another program and give the folder"
        entries.append(Entry(info.filename, is_file, info.file_size, position, flaw))
    return entries


def tar_entries(file: Path) -> list[Entry]:
    """List the members of a plain tar, by all of its headers; raises TarError if it is damaged or cut short."""
    entries = []
    with tarfile.open(file, "r:", encoding="utf-8", errors="surrogateescape") as archive:
        for info in archive:
            # Such a size leads back to a header that was read before, for ever.
            if info.size < 0:
                raise tarfile.ReadError("a size below zero")
            flaw = "is stored with holes; unpack it and give the folder" if info.issparse() else ""
            entries.append(Entry(info.name, info.isreg(), info.size, info.offset_data, flaw))
        end = archive.offset
    # tarfile takes a header that is damaged or cut short for the end.
    with file.open("rb") as opened:
        opened.seek(end)
        if opened.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("no end of a tar")
    return entries


@lru_cache(maxsize=8)
def open_zip(file: Path, stamp: Stamp, process: int) -> zipfile.ZipFile:
    """Open a zip, or return the one that this process has open already."""
    # The stamp keeps a replaced archive from being read by the old one's directory; the process keeps a forked one
    # from sharing its parent's position in the file.
    return zipfile.ZipFile(file)


def is_tar_header(block: bytes) -> bool:
    """Whether a plain tar begins with this block."""
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        # A tar without members begins with the zeros that end every tar.
        return block == bytes(tarfile.BLOCKSIZE)
    return True


def _opener(head: bytes) -> _Opener | None:
    return next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)


def decompressed(source: Path, block_size: int = _BLOCK) -> Iterator[bytes]:
    """Yield the content of a gzip, bzip2 or xz file in blocks; nothing if it is none of these."""
    with reading(printable(source)):
        with source.open("rb") as opened:
            opener = _opener(opened.read(8))
        if opener is None:
            return
        with opener(source) as stream:
            size, most = 0, max(FREE_SIZE, MAX_RATIO * source.stat().st_size)
            while block := stream.read(block_size):
                size += len(block)
                if size > most:
                    raise InputError(
                        f"{printable(source)}: unpacks to more than {MAX_RATIO} times its size, as no images do; if "
                        "you trust it, unpack it and give the folder"
                    )
                yield block


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn anything that goes wrong while `what` is read into an InputError of one line."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{what}: no such file or folder; check the path") from error
    except _FAILURES as error:
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"{what}: cannot be read ({error.strerror}); check its permissions and disk") from error
        reason = printable(str(error)) or type(error).__name__
        raise InputError(f"{what}: damaged or cut short ({reason}); fetch it again") from error
