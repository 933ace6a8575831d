"""Rate, times and losses of every log line of a training, in a CSV file that a resumed training continues."""

import csv
import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from ramit_model.system.errors import InputError
from ramit_model.system.files import write_csv_atomically

FIXED = ("iteration", "rate", "seconds", "data_seconds")
"""First columns; the losses follow. Seconds are those of an iteration."""


class TrainingTable:
    """Table of a training: rows are appended to its file, and none is kept in memory.

    Args:
        path: CSV file; written with the first row.
        last: Last iteration before the training was interrupted, or 0. Later rows, which will come again, are dropped.

    Raises:
        InputError: The file is not such a table.
    """

    def __init__(self, path: Path, last: int = 0) -> None:
        self.path = path
        self.columns: list[str] = []
        if path.is_file():
            self.columns = next(_lines(path))
            self._rewrite(row for row in read_rows(path) if row["iteration"] <= last)

    def add(self, row: dict[str, float]) -> None:
        """Append a row; the file is written anew where a column is new, as with other losses in a resumed training.

        Args:
            row: Column -> value, with the columns `FIXED`.
        """
        if new := [column for column in row if column not in self.columns]:
            rows = read_rows(self.path) if self.columns else iter(())
            self.columns += new
            self._rewrite(chain(rows, [row]))
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(self._cells(row))

    def _rewrite(self, rows: Iterable[dict[str, float]]) -> None:
        write_csv_atomically(chain([self.columns], map(self._cells, rows)), self.path)

    def _cells(self, row: dict[str, float]) -> list[str]:
        return [f"{row[column]:.8g}" if column in row else "" for column in self.columns]


def read_rows(path: Path) -> Iterator[dict[str, float]]:
    """Rows of a table, one after the other; a last line that was cut short is left out.

    Raises:
        InputError: The file is not such a table.
    """
    lines = _lines(path)
    columns = next(lines)
    waiting: list[str] | None = None
    for line in lines:
        if waiting is not None:
            yield _row(path, columns, waiting)
        waiting = line
    if waiting is not None and _ends_with_a_line(path):
        yield _row(path, columns, waiting)


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _lines(path: Path) -> Iterator[list[str]]:
    """Cells of every line, that of the columns first."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.reader(file)
            columns = next(lines, [])
            if tuple(columns[: len(FIXED)]) != FIXED:
                raise ValueError
            yield columns
            yield from lines
    except (ValueError, csv.Error):
        raise _not_a_table(path) from None


def _row(path: Path, columns: list[str], cells: list[str]) -> dict[str, float]:
    try:
        return {column: float(cell) for column, cell in zip(columns, cells, strict=True) if cell}
    except ValueError:
        raise _not_a_table(path) from None


def _not_a_table(path: Path) -> InputError:
    return InputError(f"{path}: not a table of losses; repair or remove it")
