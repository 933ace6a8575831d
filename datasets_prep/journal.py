"""Journal of the images whose entries are on the disk, so that an interrupted preparation goes on where it stopped."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from datasets_prep.gathering import Item
from datasets_prep.manifest import Record
from datasets_prep.processing import Processed
from ramit_model.system.files import JsonLines


class Line(NamedTuple):
    """Image that is done: its key, role -> entries, what was changed."""

    key: str
    records: dict[str, list[Record]]
    notes: list[str]


class Journal:
    """File with a line for each image whose entries are all written; the last line about an image counts.

    Only keys and places of lines are held in memory.

    Args:
        path: Created if it does not exist; everything from a broken or cut line on is dropped.
    """

    def __init__(self, path: Path) -> None:
        self._places: dict[str, tuple[int, str]] = {}
        self._lines = JsonLines(path, self._replay)

    def _replay(self, place: int, line: Any) -> None:
        key, signature, *_ = line
        if not isinstance(key, str) or not isinstance(signature, str):
            raise TypeError("key")
        if signature:
            _parse(line)
            self._places[key] = (place, signature)
        else:
            self._places.pop(key, None)

    def __len__(self) -> int:
        return len(self._places)

    def has(self, item: Item) -> bool:
        """Whether the image is done, from the very files that `item` names."""
        return self._places.get(item.key, (0, ""))[1] == _signature(item)

    def stale(self, items: Iterable[Item]) -> list[Line]:
        """Find images that are done but not, or no longer like that, among `items`."""
        current = {item.key for item in items if self.has(item)}
        return [self._read(key) for key in self._places.keys() - current]

    def forget(self, keys: Iterable[str]) -> None:
        """Remove images."""
        keys = list(keys)
        for key in keys:
            del self._places[key]
        self._lines.append(*([key, ""] for key in keys))

    def add(self, done: Iterable[tuple[Item, Processed]]) -> None:
        """Record images as done; their entries must be on the disk."""
        lines: list[list[Any]] = []
        for item, processed in done:
            records = {
                role: [(record.key, record.size, record.sha256) for record, _ in entries]
                for role, entries in processed.entries.items()
            }
            lines.append([item.key, _signature(item), records, processed.notes])
        for (key, signature, *_), place in zip(lines, self._lines.append(*lines), strict=True):
            self._places[key] = (place, signature)

    def __iter__(self) -> Iterator[Line]:
        """Iterate over all images, sorted by key."""
        for key in sorted(self._places):
            yield self._read(key)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def _read(self, key: str) -> Line:
        return _parse(self._lines.read(self._places[key][0]))


def _parse(line: Any) -> Line:
    key, _, records, notes = line
    if not isinstance(records, dict) or not isinstance(notes, list) or not all(isinstance(n, str) for n in notes):
        raise TypeError("records")
    return Line(key, {role: [Record.parse(entry) for entry in entries] for role, entries in records.items()}, notes)


def _signature(item: Item) -> str:
    """Identity of the files an image came from: names, sizes, modification times."""
    return json.dumps({role: [member.where, member.size, member.stamp] for role, member in sorted(item.files.items())})
