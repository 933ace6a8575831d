"""Manifest of a prepared data set, beside it: a line of JSON about the whole, then a line for each entry."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any, get_origin

from ramit_model.system.errors import InputError
from ramit_model.system.files import write_atomically

FORMAT = 1


@dataclass(frozen=True)
class Header:
    """First line of a manifest, about the whole data set.

    Attributes:
        family: Name of the family.
        role: gt, lq, x2, ...
        made_with: Settings that the content depends on beside the images: scale, sub-images, compression ...
        made_from: Checksum over keys, names and sizes of the source files.
        images: Number of source images.
        complete: All images of the published set are there.
        entries: Number of entries.
        gt: Path of the ground truth relative to this data set; None for ground truth itself.
        scale: Size of the ground truth over that of this data set.
        notes: Change made to images -> names of the images.
    """

    family: str
    role: str
    made_with: dict[str, Any]
    made_from: str
    images: int
    complete: bool
    entries: int
    gt: str | None
    scale: int
    notes: dict[str, list[str]]
    format: int = FORMAT

    def __post_init__(self) -> None:
        for entry in fields(self):
            kind: Any = dict if get_origin(entry.type) is dict else entry.type
            if not isinstance(getattr(self, entry.name), kind):
                raise TypeError(entry.name)


@dataclass(frozen=True)
class Record:
    """Line about an entry: key (in folders, the file's name without extension), height, width, channels, SHA-256."""

    key: str
    size: tuple[int, int, int]
    sha256: str

    @classmethod
    def parse(cls, line: Any) -> "Record":
        """Read what a manifest or a journal has about an entry.

        Raises:
            ValueError: It is broken, or its key leads out of the data set.
            TypeError: It is broken.
        """
        key, (height, width, channels), sha256 = line
        lengths = (height, width, channels)
        if not (isinstance(key, str) and key.isprintable() and key and not set("/\\") & set(key)):
            raise ValueError("key")
        if not all(type(length) is int and length > 0 for length in lengths) or not isinstance(sha256, str):
            raise TypeError("size")
        return cls(key, lengths, sha256)


def manifest_path(store: Path) -> Path:
    """Path of the manifest of an LMDB or of a folder; hidden in folders, whose other files are all images."""
    return store / ("manifest.jsonl" if store.suffix == ".lmdb" else ".manifest.jsonl")


def write_manifest(store: Path, header: Header, records: Iterable[Record]) -> None:
    """Write the manifest of `store`, line by line."""
    lines = chain([asdict(header)], ([record.key, record.size, record.sha256] for record in records))
    write_atomically((json.dumps(line).encode() + b"\n" for line in lines), manifest_path(store))


def read_header(store: Path) -> Header | None:
    """Read the first line; None without a manifest.

    Raises:
        InputError: The manifest is broken, or of a later version.
    """
    path = manifest_path(store)
    try:
        with path.open(encoding="utf-8") as file:
            content = json.loads(file.readline())
        if content.get("format") != FORMAT:
            raise InputError(
                f"{path}: of format {content.get('format')}, this version reads {FORMAT}; prepare it again"
            )
        return Header(**content)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: broken; prepare the set again with --force") from None


def read_records(store: Path) -> Iterator[Record]:
    """Read the entries, one after another.

    Raises:
        InputError: The manifest is broken.
    """
    path = manifest_path(store)
    # As bytes: a broken character is an error of its line.
    with path.open("rb") as file:
        next(file, None)
        for number, line in enumerate(file, 2):
            try:
                record = Record.parse(json.loads(line))
            except (ValueError, TypeError, RecursionError):
                raise InputError(f"{path}:{number}: broken; prepare the set again with --force") from None
            yield record
