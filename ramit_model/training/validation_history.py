"""Keeps what every validation of a training measured in a CSV file, which a resumed training goes on with."""

import csv
import io
from pathlib import Path
from typing import NamedTuple

from ramit_model.system.errors import InputError
from ramit_model.system.files import write_atomically


class Measurement(NamedTuple):
    """The average of one metric over one data set."""

    iteration: int
    dataset: str
    metric: str
    value: float


class ValidationHistory:
    """The measurements of a training, oldest first.

    Args:
        path: CSV file with a line a measurement; it appears with the first one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Measurement] = []

    def read(self, last: int) -> None:
        """Take over what the file holds up to the iteration `last`; what came later will be measured again."""
        if not self.path.is_file():
            return
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                lines = list(csv.reader(file))[1:]
            rows = [Measurement(int(line[0]), line[1], line[2], float(line[3])) for line in lines]
        except (ValueError, IndexError, csv.Error):
            raise InputError(f"{self.path}: is no table of measurements; mend or remove it") from None
        self.rows = [row for row in rows if row.iteration <= last]

    def add(self, iteration: int, dataset: str, averages: dict[str, float]) -> None:
        """Write the averages of one validation, by metric, into the file."""
        self.rows += [Measurement(iteration, dataset, metric, value) for metric, value in averages.items()]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([Measurement._fields, *self.rows])
        write_atomically(text.getvalue().encode(), self.path)
