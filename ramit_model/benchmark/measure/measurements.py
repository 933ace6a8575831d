"""Everything measured so far, on the disk as it comes: an interrupted benchmark measures nothing twice."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ramit_model.system.errors import InputError


def key_of(**what: Any) -> str:
    """A short name for what determines a measurement, plain data."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


class Measurements:
    """A file with a line for each measurement; the last line of a key counts.

    Args:
        path: Made if it is not there. A line that a kill cut short is dropped.

    Raises:
        InputError: Another process has it open, or its folder cannot be one.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise InputError(f"{path.parent}: is no folder, nor can it be one; choose another --out") from None
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InputError(f"{path.parent}: another benchmark is writing here; choose another --out") from None
        self._values: dict[str, Any] = {}
        self._file = path.open("a+b")
        self._file.seek(0)
        end = 0
        for line in self._file:
            try:
                entry = json.loads(line if line.endswith(b"\n") else b"")
                self._values[entry["key"]] = entry["value"]
            except (ValueError, TypeError, KeyError):
                break
            end += len(line)
        self._file.truncate(end)

    def get(self, key: str) -> Any | None:
        """What was measured, or None."""
        return self._values.get(key)

    def add(self, key: str, value: Any, **about: Any) -> None:
        """Keep a measurement.

        Args:
            key: From `key_of`.
            value: Plain data.
            about: What it is, for people who read the file.
        """
        self._values[key] = value
        self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps({**about, "key": key, "value": value}).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> "Measurements":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._lock.release()
