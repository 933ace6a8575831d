"""Everything measured so far, on the disk as it comes: an interrupted benchmark measures nothing twice."""

import hashlib
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ramit_model.system.errors import InputError
from ramit_model.system.files import JsonLines
from ramit_model.system.locks import held


def key_of(**what: Any) -> str:
    """Short name for what determines a measurement, plain data."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


class Measurements:
    """A file with a line for each measurement; the last line of a key counts.

    Args:
        path: Created if it does not exist. A line that a kill cut short is dropped.

    Raises:
        InputError: Another process has it open, or its folder cannot be created.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise InputError(f"{path.parent}: is not a folder and cannot become one; choose another --out") from None
        self._cleanup = ExitStack()
        try:
            self._cleanup.enter_context(held(FileLock(path.with_name(f".{path.name}.lock"), timeout=0)))
        except Timeout:
            raise InputError(f"{path.parent}: another benchmark is writing here; choose another --out") from None
        self._values: dict[str, Any] = {}
        self._lines = JsonLines(path, self._replay)

    def _replay(self, _: int, line: Any) -> None:
        self._values[line["key"]] = line["value"]

    def get(self, key: str) -> Any | None:
        """The measurement, or None."""
        return self._values.get(key)

    def add(self, key: str, value: Any, **about: Any) -> None:
        """Keep a measurement.

        Args:
            key: From `key_of`.
            value: Plain data.
            about: Description for people who read the file.
        """
        self._values[key] = value
        self._lines.append({**about, "key": key, "value": value})

    def __enter__(self) -> "Measurements":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._cleanup.close()
