"""What of a preparation is on the disk already, so that an interrupted one goes on where it stopped."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from datasets_prep.gathering import Item
from datasets_prep.manifest import Record
from datasets_prep.work import Made


class Line(NamedTuple):
    """An image that is done: its key, role -> entries, what was changed."""

    key: str
    records: dict[str, list[Record]]
    notes: list[str]


class Journal:
    """A file with a line for each image whose entries are all written; the last line about an image counts.

    Only keys and places of lines are held in memory.

    Args:
        path: Made if it is not there; a line that a kill cut short is dropped, and all behind one that the disk broke.
    """

    def __init__(self, path: Path) -> None:
        self._lines: dict[str, tuple[int, str]] = {}
        self._file = path.open("a+b")
        self._file.seek(0)
        end = 0
        for line in self._file:
            try:
                key, signature, *_ = json.loads(line if line.endswith(b"\n") else b"")
            except (ValueError, TypeError):
                break
            if signature:
                self._lines[key] = (end, signature)
            else:
                self._lines.pop(key, None)
            end += len(line)
        self._file.truncate(end)

    def __len__(self) -> int:
        return len(self._lines)

    def has(self, item: Item) -> bool:
        """The image is done, from the very files that `item` names."""
        return self._lines.get(item.key, (0, ""))[1] == _signature(item)

    def stale(self, items: Iterable[Item]) -> list[Line]:
        """Images that are done but not, or no longer so, among `items`."""
        current = {item.key for item in items if self.has(item)}
        return [self._read(key) for key in self._lines.keys() - current]

    def forget(self, keys: Iterable[str]) -> None:
        """Take images back."""
        for key in keys:
            del self._lines[key]
            self._append([key, ""])
        self._flush()

    def add(self, done: Iterable[tuple[Item, Made]]) -> None:
        """Note images as done; their entries are on the disk by now."""
        for item, made in done:
            records = {
                role: [(record.key, record.size, record.sha256) for record, _ in entries]
                for role, entries in made.entries.items()
            }
            signature = _signature(item)
            self._lines[item.key] = (self._append([item.key, signature, records, made.notes]), signature)
        self._flush()

    def __iter__(self) -> Iterator[Line]:
        """All images, sorted by key."""
        for key in sorted(self._lines):
            yield self._read(key)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _append(self, line: list[object]) -> int:
        self._file.seek(0, os.SEEK_END)
        place = self._file.tell()
        self._file.write(json.dumps(line).encode() + b"\n")
        return place

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, key: str) -> Line:
        self._file.seek(self._lines[key][0])
        _, _, records, notes = json.loads(self._file.readline())
        return Line(
            key,
            {
                role: [Record(k, tuple(size), sha256) for k, size, sha256 in entries]
                for role, entries in records.items()
            },
            notes,
        )


def _signature(item: Item) -> str:
    """Which files an image came from: names, sizes, times of change."""
    return json.dumps({role: [member.where, member.size, member.stamp] for role, member in sorted(item.files.items())})
