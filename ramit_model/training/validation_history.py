"""History of all validations of a training, in a CSV file that a resumed training continues."""

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ramit_model.system.errors import InputError
from ramit_model.system.files import write_csv_atomically
from ramit_model.training.expectation import Expected


class Measurement(NamedTuple):
    """Average of one metric over one data set."""

    iteration: int
    dataset: str
    metric: str
    value: float


class ValidationHistory:
    """The measurements of a training, oldest first.

    Args:
        path: CSV file, one line per measurement; written with the first one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Measurement] = []

    def read(self, last: float = math.inf) -> None:
        """Read the measurements up to iteration `last`; later ones will be measured again.

        Raises:
            InputError: The file is not a table of measurements.
        """
        if not self.path.is_file():
            return
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                lines = list(csv.reader(file))[1:]
            rows = [Measurement(int(line[0]), line[1], line[2], float(line[3])) for line in lines]
        except (ValueError, IndexError, csv.Error):
            raise InputError(f"{self.path}: not a table of measurements; repair or remove it") from None
        self.rows = [row for row in rows if row.iteration <= last]

    def add(self, iteration: int, dataset: str, averages: dict[str, float]) -> None:
        """Append the averages of one validation, by metric, and write the file."""
        self.rows += [Measurement(iteration, dataset, metric, value) for metric, value in averages.items()]
        write_csv_atomically([Measurement._fields, *self.rows], self.path)


def read_history(path: Path) -> tuple[str, list[Measurement]]:
    """Name and measurements of another training.

    Args:
        path: Folder of its experiment, or a file like `validation.csv` there.

    Raises:
        InputError: It does not exist, or is not a table of measurements.
    """
    name = path.absolute().name if path.is_dir() else path.stem
    path = path / "validation.csv" if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"{path}: no such file; name the folder of an experiment, or a table like its validation.csv")
    history = ValidationHistory(path)
    history.read()
    return name, history.rows


def validation_line(
    dataset: str,
    iteration: int | str,
    averages: Mapping[str, float],
    best: Mapping[str, Mapping[str, Any]],
    expected: Iterable[Expected] = (),
) -> str:
    """Describe one validation in one line.

    Args:
        dataset: Name of the data set.
        iteration: Iteration of the training; in a test, the name of the run, which is left out.
        averages: Average of each metric.
        best: `val` and `iter` of the best result of each metric so far.
        expected: What the training is expected to come to.
    """
    known: dict[tuple[int | str, str, str], Expected] = {row[:3]: row for row in expected}
    parts = []
    for metric, value in averages.items():
        part = f"{metric} {value:.4f}"
        if isinstance(iteration, int) and best[metric]["iter"] != iteration:
            part += f" (best: {best[metric]['val']:.4f} at {best[metric]['iter']:,})"
        if (iteration, dataset, metric) in known:
            part += f" (expected: {known[iteration, dataset, metric]})"
        parts.append(part)
    where = f"validation at {iteration:,}, {dataset}" if isinstance(iteration, int) else dataset
    return f"{where}: {', '.join(parts)}"
