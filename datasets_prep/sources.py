"""Image files in folders, zips and tars, listed and read in place: archive members are never extracted."""

import bz2
import gzip
import hashlib
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from ramit_model.system.errors import InputError
from ramit_model.system.files import write_atomically

MAX_BYTES = 2**30
"""An image file larger than this is refused."""

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}

Kind = Literal["folder", "zip", "tar", "compressed tar"]
Stamp = tuple[int, int]

_ARCHIVE_SUFFIX = re.compile(r"(\.tar(\.(gz|bz2|xz))?|\.t(gz|bz2?|xz)|\.zip)$", re.IGNORECASE)
_INNER_ARCHIVE = re.compile(r"\.(zip|rar|7z|tar|t?gz|tbz2?|bz2|t?xz)$", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:")
_RAR_OR_7Z = (b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c")
_Opener = type[gzip.GzipFile] | type[bz2.BZ2File] | type[lzma.LZMAFile]
_OPENERS: dict[bytes, _Opener] = {b"\x1f\x8b": gzip.GzipFile, b"BZh": bz2.BZ2File, b"\xfd7zXZ\x00": lzma.LZMAFile}
_ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
_BLOCK = 2**20

# What the readers of archives raise when the file is damaged, which is nearly anything.
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


@dataclass(frozen=True)
class Member:
    """One image file in a source; small, and can be pickled for worker processes.

    Attributes:
        source: The folder or archive, as the user named it.
        name: POSIX path within the source.
        size: Bytes, uncompressed.
        kind: What `file` is: a folder, a zip or a plain tar.
        file: What is opened: the source, or the plain tar that a compressed tar was unpacked to.
        position: Of a tar's member, the offset of its first byte; of a zip's member, its index in the directory.
        stamp: Size in bytes and time of change in ns that the file to be read had when it was listed.
    """

    source: Path
    name: str
    size: int
    kind: Kind
    file: Path
    position: int
    stamp: Stamp

    @property
    def path(self) -> PurePosixPath:
        """What layouts are matched against: the source's name, an archive's without its extensions, and `name`."""
        return PurePosixPath(self.source.name if self.kind == "folder" else _title(self.source), self.name)

    @property
    def where(self) -> str:
        """For messages: `photos/a/1.png` in a folder, `photos.zip: a/1.png` in an archive; always printable."""
        return _shown(f"{self.source.name}{'/' if self.kind == 'folder' else ': '}{self.name}")


class _Entry(NamedTuple):
    """A member of an archive, image or not, as the archive describes it; `flaw` says why it cannot be read."""

    name: str
    is_file: bool
    size: int
    position: int
    flaw: str


@dataclass
class _Found:
    """What is in a source: images, the names of archives beside them, and a line for each problem."""

    members: list[Member] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def list_source(source: Path, unpacked: Path | None = None) -> list[Member]:
    """The image files in a folder or an archive, sorted by name.

    Hidden files, files in hidden folders and `__MACOSX` are left out, and so are links and special files in archives.
    Links in folders are followed.

    Args:
        source: Folder, zip or tar; an archive is known by its content, whatever its name.
        unpacked: What `unpack` made of the source if `needs_unpacking`.

    Raises:
        InputError: One line for each problem: the source cannot be read or holds no image, an archive is damaged,
            encrypted or has members that point outside, a link is broken, a name is there twice, a file is too large.
        ValueError: The source needs unpacking, and `unpacked` is missing.
    """
    if source.name in {"", ".."}:
        source = source.resolve()
    kind = _kind_of(source)
    file = source
    if kind == "compressed tar":
        if unpacked is None:
            raise ValueError(f"{source} must be unpacked before it is listed")
        kind, file = "tar", unpacked
    with _reading(_shown(source)):
        found = _list_folder(source) if kind == "folder" else _list_archive(source, kind, file)
    problems = found.problems + _problems_of(found.members)
    if not found.members and not problems:
        problems = [_no_image(source, kind, found.archives)]
    if problems:
        raise InputError("\n".join(problems))
    return sorted(found.members, key=lambda member: member.name)


def needs_unpacking(source: Path) -> bool:
    """Whether the source is a compressed tar, which has no random access and is listed after `unpack` only.

    Raises:
        InputError: The source is no folder and no archive that can be read.
    """
    return _kind_of(source) == "compressed tar"


def unpack(source: Path, folder: Path) -> Path:
    """Decompress a compressed tar to a plain tar, in blocks; its members stay inside.

    Args:
        source: A tar compressed with gzip, bzip2 or xz.
        folder: Where the plain tar is put; created if need be.

    Returns:
        The plain tar. Its name depends on the source's place, size and time of change; one that is there is kept.

    Raises:
        InputError: The source is no compressed tar, or is damaged.
        OSError: The tar cannot be written, for want of space say; `filename` names it, and nothing is left of it.
    """
    if not needs_unpacking(source):
        raise InputError(f"{_shown(source)}: no compressed tar; nothing is to be unpacked")
    identity = f"{source.resolve()} {_stamp(source.stat())}"
    digest = hashlib.sha256(os.fsencode(identity)).hexdigest()[:16]
    target = folder / f"{_title(source)[:40]}-{digest}.tar"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(_decompressed(source), target)
    return target


def read(member: Member, first: int | None = None) -> bytes:
    """The content of an image file; may be called from several threads and processes.

    Args:
        member: As `list_source` gave it.
        first: Bytes to read from the start, for a look at the header; None reads, and checks, the whole file.

    Raises:
        InputError: The file has changed or gone since it was listed, is damaged or cannot be read.
    """
    file = member.file / member.name if member.kind == "folder" else member.file
    count = member.size if first is None else min(first, member.size)
    with _reading(member.where):
        if not file.exists() or _stamp(file.stat()) != member.stamp:
            raise InputError(f"{member.where}: has changed or gone since it was listed; start again")
        if member.kind == "zip":
            archive = _open_zip(file, member.stamp, os.getpid())
            with archive.open(archive.infolist()[member.position]) as opened_member:
                content = opened_member.read(count)
        else:
            with file.open("rb") as opened:
                opened.seek(member.position)
                content = opened.read(count)
        if len(content) != count:
            raise EOFError(f"{len(content)} of {count} bytes")
    return content


@lru_cache(maxsize=8)
def _open_zip(file: Path, stamp: Stamp, process: int) -> zipfile.ZipFile:
    # The stamp keeps a replaced archive from being read by the old one's directory; the process keeps a forked one
    # from sharing its parent's position in the file.
    return zipfile.ZipFile(file)


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turn what goes wrong while `what` is read into a InputError of one line."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{what}: no such file or folder; check the path") from error
    except _FAILURES as error:
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"{what}: cannot be read ({error.strerror}); check its permissions and disk") from error
        reason = _shown(error) or type(error).__name__
        raise InputError(f"{what}: damaged or cut short ({reason}); fetch it again") from error


def _kind_of(source: Path) -> Kind:
    shown = _shown(source)
    with _reading(shown):
        mode = source.stat().st_mode
        if stat.S_ISDIR(mode):
            return "folder"
        # Opening a pipe would wait for ever.
        if not stat.S_ISREG(mode):
            raise InputError(f"{shown}: neither a file nor a folder; give a folder, zip or tar")
        with source.open("rb") as opened:
            head = opened.read(tarfile.BLOCKSIZE)
        if not head:
            raise InputError(f"{shown}: is empty; fetch it again")
        if head.startswith(_RAR_OR_7Z):
            raise InputError(f"{shown}: cannot be read in place; unpack it and give the folder")
        # Before zip, since a tar that ends with a zip looks like one.
        if _is_tar_header(head):
            return "tar"
        if _opener(head) and _is_tar_header(next(_decompressed(source, tarfile.BLOCKSIZE), b"")):
            return "compressed tar"
        if zipfile.is_zipfile(source):
            return "zip"
    if head.startswith(b"PK"):
        raise InputError(f"{shown}: damaged or cut short (no directory of a zip); fetch it again")
    if source.suffix.lower() in SUFFIXES:
        raise InputError(f"{shown}: is a single file; give the folder that holds the images")
    raise InputError(f"{shown}: neither a zip nor a tar, or damaged; fetch it again, or unpack it and give the folder")


def _is_tar_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        # A tar without members begins with the zeros that end every tar.
        return block == bytes(tarfile.BLOCKSIZE)
    return True


def _opener(head: bytes) -> _Opener | None:
    return next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)


def _decompressed(source: Path, block_size: int = _BLOCK) -> Iterator[bytes]:
    with _reading(_shown(source)):
        with source.open("rb") as opened:
            opener = _opener(opened.read(8))
        if opener is None:
            return
        with opener(source) as stream:
            while block := stream.read(block_size):
                yield block


def _list_folder(source: Path) -> _Found:
    found = _Found()
    pending: list[tuple[Path, frozenset[tuple[int, int]]]] = [(source, frozenset({_identity(source.stat())}))]
    while pending:
        folder, above = pending.pop()
        try:
            paths = list(folder.iterdir())
        except OSError as error:
            found.problems.append(f"{_shown(folder)}: cannot be read ({error.strerror}); check its permissions")
            continue
        for path in paths:
            if _is_hidden(path.name):
                continue
            try:
                status = path.stat()
            except OSError as error:
                flaw = "is a broken link" if path.is_symlink() else "cannot be read"
                found.problems.append(f"{_shown(path)}: {flaw} ({error.strerror}); mend or remove it")
                continue
            if stat.S_ISREG(status.st_mode):
                name = path.relative_to(source).as_posix()
                if path.suffix.lower() in SUFFIXES:
                    found.members.append(Member(source, name, status.st_size, "folder", source, 0, _stamp(status)))
                elif _INNER_ARCHIVE.search(name):
                    found.archives.append(name)
            # A link to a folder above would lead round for ever.
            elif stat.S_ISDIR(status.st_mode) and _identity(status) not in above:
                pending.append((path, above | {_identity(status)}))
    return found


def _list_archive(source: Path, kind: Kind, file: Path) -> _Found:
    stamp = _stamp(file.stat())
    entries = _zip_entries(file) if kind == "zip" else _tar_entries(file)
    outside = [entry.name for entry in entries if _points_outside(entry.name)]
    if outside:
        raise InputError(_summary(source, outside, "points outside the archive; do not use this archive"))
    found = _Found()
    flawed: dict[str, list[str]] = {}
    for entry in entries:
        path = _posix(entry.name)
        # Some archivers mark a folder by its last slash alone.
        if not entry.is_file or entry.name.endswith(("/", "\\")) or any(_is_hidden(part) for part in path.parts):
            continue
        name = str(path)
        if path.suffix.lower() in SUFFIXES:
            found.members.append(Member(source, name, entry.size, kind, file, entry.position, stamp))
            if entry.flaw:
                flawed.setdefault(entry.flaw, []).append(name)
        elif _INNER_ARCHIVE.search(name):
            found.archives.append(name)
    found.problems = [_summary(source, names, flaw) for flaw, names in flawed.items()]
    return found


def _zip_entries(file: Path) -> list[_Entry]:
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
        entries.append(_Entry(info.filename, is_file, info.file_size, position, flaw))
    return entries


def _tar_entries(file: Path) -> list[_Entry]:
    entries = []
    with tarfile.open(file, "r:", encoding="utf-8", errors="surrogateescape") as archive:
        for info in archive:
            # Such a size leads back to a header that was read before, for ever.
            if info.size < 0:
                raise tarfile.ReadError("a size below zero")
            flaw = "is stored with holes; unpack it and give the folder" if info.issparse() else ""
            entries.append(_Entry(info.name, info.isreg(), info.size, info.offset_data, flaw))
        end = archive.offset
    # tarfile takes a header that is damaged or cut short for the end.
    with file.open("rb") as opened:
        opened.seek(end)
        if opened.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("no end of a tar")
    return entries


def _problems_of(members: list[Member]) -> list[str]:
    problems = [
        f"{member.where}: {member.size} bytes are more than the {MAX_BYTES} of the largest image; remove it"
        for member in members
        if member.size > MAX_BYTES
    ]
    times = Counter(member.name for member in members)
    where = {member.name: member.where for member in members}
    return problems + [
        f"{where[name]}: is there {count} times; unpack it and give the folder"
        for name, count in times.items()
        if count > 1
    ]


def _no_image(source: Path, kind: Kind, archives: list[str]) -> str:
    if not archives:
        return f"{_shown(source)}: holds no image ({', '.join(sorted(SUFFIXES))}); check the path"
    advice = "give those instead" if kind == "folder" else "unpack it and give the folder"
    return f"{_shown(source)}: holds archives ({_shown(min(archives))}), no image; {advice}"


def _summary(source: Path, names: list[str], flaw: str) -> str:
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return f"{_shown(source)}: {_shown(names[0])}{more} {flaw}"


def _posix(name: str) -> PurePosixPath:
    # Some archivers write backslashes.
    return PurePosixPath(name.replace("\\", "/"))


def _points_outside(name: str) -> bool:
    path = _posix(name)
    return path.is_absolute() or ".." in path.parts or _DRIVE.match(str(path)) is not None


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _title(archive: Path) -> str:
    return _ARCHIVE_SUFFIX.sub("", archive.name) or archive.name


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_size, status.st_mtime_ns


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _shown(text: object) -> str:
    """Text on one line that any stream takes: archives and file systems have names with line ends and lone bytes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
