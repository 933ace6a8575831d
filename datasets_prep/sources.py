"""Lists and reads image files in folders, zips and tars, in place: archive members are never extracted."""

import hashlib
import os
import re
import stat
import tarfile
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from datasets_prep.archives import (
    Stamp,
    decompressed,
    is_tar_header,
    open_zip,
    reading,
    tar_entries,
    zip_entries,
)
from ramit_model.system.errors import InputError
from ramit_model.system.files import write_atomically
from ramit_model.system.image_names import READ_EVERYWHERE, is_image
from ramit_model.system.text import printable

MAX_BYTES = 2**30
"""An image file larger than this is refused."""

Kind = Literal["folder", "zip", "tar", "compressed tar"]

_ARCHIVE_SUFFIX = re.compile(r"(\.tar(\.(gz|bz2|xz))?|\.t(gz|bz2?|xz)|\.zip)$", re.IGNORECASE)
_INNER_ARCHIVE = re.compile(r"\.(zip|rar|7z|tar|t?gz|tbz2?|bz2|t?xz)$", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:")
_RAR_OR_7Z = (b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c")


@dataclass(frozen=True)
class Member:
    """Image file in a source; small, and can be pickled for worker processes.

    Attributes:
        source: Folder or archive, as the user named it.
        name: POSIX path within the source.
        size: Bytes, uncompressed.
        kind: Kind of `file`: a folder, a zip or a plain tar.
        file: File to open: the source, or the plain tar that a compressed tar was unpacked to.
        position: Offset of the first byte of a tar's member; index in the directory of a zip's member.
        stamp: Size and modification time that the file to be read had when it was listed.
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
        """Path to match layouts against: the source's name, an archive's without its extensions, and `name`."""
        return PurePosixPath(self.source.name if self.kind == "folder" else _title(self.source), self.name)

    @property
    def where(self) -> str:
        """Name for messages: `photos/a/1.png` in a folder, `photos.zip: a/1.png` in an archive; always printable."""
        return printable(f"{self.source.name}{'/' if self.kind == 'folder' else ': '}{self.name}")


@dataclass
class Listed:
    """Content of a source.

    Attributes:
        members: Image files.
        unread: Names of pictures in formats that are not read here.
        others: Names of other files, archives apart.
        archives: Names of archives in the source.
        problems: A line for each problem.
    """

    members: list[Member] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, name: str, member: Member) -> None:
        """Sort a file in by its name."""
        if PurePosixPath(name).suffix.lower() in READ_EVERYWHERE:
            self.members.append(member)
        elif _INNER_ARCHIVE.search(name):
            self.archives.append(name)
        else:
            (self.unread if is_image(name) else self.others).append(name)


def look_into(source: Path, unpacked: Path | None = None) -> Listed:
    """List the files in a folder or an archive, images sorted by name.

    Hidden files, files in hidden folders and `__MACOSX` are left out, and so are links and special files in archives.
    Links in folders are followed.

    Args:
        source: Folder, zip or tar; an archive is known by its content, whatever its name.
        unpacked: Plain tar from `unpack` if `needs_unpacking`.

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
    with reading(printable(source)):
        found = _list_folder(source) if kind == "folder" else _list_archive(source, kind, file)
    problems = found.problems + _problems_of(found.members)
    if not found.members and not problems:
        problems = [_no_image(source, kind, found.archives)]
    if problems:
        raise InputError("\n".join(problems))
    found.members.sort(key=lambda member: member.name)
    return found


def needs_unpacking(source: Path) -> bool:
    """Whether the source is a compressed tar, which has no random access and is listed after `unpack` only.

    Raises:
        InputError: The source is neither a folder nor an archive that can be read.
    """
    return _kind_of(source) == "compressed tar"


def unpack(source: Path, folder: Path) -> Path:
    """Decompress a compressed tar to a plain tar, in blocks; its members stay inside.

    Args:
        source: A tar compressed with gzip, bzip2 or xz.
        folder: Folder for the plain tar; created if it does not exist.

    Returns:
        The plain tar. Its name depends on the source's path, size and modification time; an existing one is kept.

    Raises:
        InputError: The source is not a compressed tar, or is damaged.
        OSError: The tar cannot be written, for example because the disk is full; `filename` names it.
    """
    if not needs_unpacking(source):
        raise InputError(f"{printable(source)}: not a compressed tar, so there is nothing to unpack")
    identity = f"{source.resolve()} {_stamp(source.stat())}"
    digest = hashlib.sha256(os.fsencode(identity)).hexdigest()[:16]
    target = folder / f"{_title(source)[:40]}-{digest}.tar"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(decompressed(source), target)
    return target


def read(member: Member, first: int | None = None) -> bytes:
    """Read the content of an image file; may be called from several threads and processes.

    Args:
        member: Image file from `look_into`.
        first: Number of bytes to read from the start, for a look at the header; None reads and checks the whole file.

    Raises:
        InputError: The file has changed or gone since it was listed, is damaged or cannot be read.
    """
    file = member.file / member.name if member.kind == "folder" else member.file
    count = member.size if first is None else min(first, member.size)
    with reading(member.where):
        if not file.exists() or _stamp(file.stat()) != member.stamp:
            raise InputError(f"{member.where}: has changed or gone since it was listed; start again")
        if member.kind == "zip":
            archive = open_zip(file, member.stamp, os.getpid())
            with archive.open(archive.infolist()[member.position]) as opened_member:
                content = opened_member.read(count)
        else:
            with file.open("rb") as opened:
                opened.seek(member.position)
                content = opened.read(count)
        if len(content) != count:
            raise EOFError(f"{len(content)} of {count} bytes")
    return content


def _kind_of(source: Path) -> Kind:
    shown = printable(source)
    with reading(shown):
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
        if is_tar_header(head):
            return "tar"
        if is_tar_header(next(decompressed(source, tarfile.BLOCKSIZE), b"")):
            return "compressed tar"
        if zipfile.is_zipfile(source):
            return "zip"
    if head.startswith(b"PK"):
        raise InputError(f"{shown}: damaged or cut short (no directory of a zip); fetch it again")
    if is_image(source):
        raise InputError(f"{shown}: is a single file; give the folder that holds the images")
    raise InputError(f"{shown}: neither a zip nor a tar, or damaged; fetch it again, or unpack it and give the folder")


def _list_folder(source: Path) -> Listed:
    found = Listed()
    pending: list[tuple[Path, frozenset[tuple[int, int]]]] = [(source, frozenset({_identity(source.stat())}))]
    while pending:
        folder, above = pending.pop()
        try:
            paths = list(folder.iterdir())
        except OSError as error:
            found.problems.append(f"{printable(folder)}: cannot be read ({error.strerror}); check its permissions")
            continue
        for path in paths:
            if _is_hidden(path.name):
                continue
            try:
                status = path.stat()
            except OSError as error:
                flaw = "is a broken link" if path.is_symlink() else "cannot be read"
                found.problems.append(f"{printable(path)}: {flaw} ({error.strerror}); repair or remove it")
                continue
            if stat.S_ISREG(status.st_mode):
                name = path.relative_to(source).as_posix()
                found.add(name, Member(source, name, status.st_size, "folder", source, 0, _stamp(status)))
            # A link to a folder above would lead round for ever.
            elif stat.S_ISDIR(status.st_mode) and _identity(status) not in above:
                pending.append((path, above | {_identity(status)}))
    return found


def _list_archive(source: Path, kind: Kind, file: Path) -> Listed:
    stamp = _stamp(file.stat())
    entries = zip_entries(file) if kind == "zip" else tar_entries(file)
    outside = [entry.name for entry in entries if _points_outside(entry.name)]
    if outside:
        raise InputError(_summary(source, outside, "points outside the archive; do not use this archive"))
    found = Listed()
    flawed: dict[str, list[str]] = {}
    for entry in entries:
        path = _posix(entry.name)
        # Some archivers mark a folder by its last slash alone.
        if not entry.is_file or entry.name.endswith(("/", "\\")) or any(_is_hidden(part) for part in path.parts):
            continue
        name = str(path)
        found.add(name, Member(source, name, entry.size, kind, file, entry.position, stamp))
        if entry.flaw and found.members and found.members[-1].name == name:
            flawed.setdefault(entry.flaw, []).append(name)
    found.problems = [_summary(source, names, flaw) for flaw, names in flawed.items()]
    return found


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
        return f"{printable(source)}: holds no image ({', '.join(sorted(READ_EVERYWHERE))}); check the path"
    advice = "give those instead" if kind == "folder" else "unpack it and give the folder"
    return f"{printable(source)}: holds archives ({printable(min(archives))}), no image; {advice}"


def _summary(source: Path, names: list[str], flaw: str) -> str:
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return f"{printable(source)}: {printable(names[0])}{more} {flaw}"


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
