"""Learning curve of a training as a picture: losses, metrics of every validation, learning rate."""

import io
import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ramit_model.system.files import write_atomically
from ramit_model.system.text import printable
from ramit_model.training.expectation import Expected
from ramit_model.training.skipping import SKIPPED
from ramit_model.training.training_table import FIXED, read_rows
from ramit_model.training.validation_history import Measurement, read_history

POINTS = 400
"""Points of a line at most; more rows of the table are averaged."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Palette of Okabe and Ito, safe for color-blind readers."""

Line = tuple[list[float], list[float]]
"""Iterations, and values."""


def draw_learning_curve(
    name: str,
    table: Path,
    measurements: Sequence[Measurement],
    beside: Path | None,
    path: Path,
    expected: Sequence[Expected] = (),
) -> None:
    """Draw the curve as PNG: a panel for the losses, one for each metric, one for the rate.

    Args:
        name: Name of the training.
        table: Its `TrainingTable`, which need not exist.
        measurements: What its validations measured.
        beside: Another training to draw beside it, dashed; see `read_history`.
        path: File to write, whole or not at all.
        expected: What it is expected to come to, drawn as a band.

    Raises:
        InputError: A file is not such a table.
        OSError: The picture cannot be written.
    """
    lines = averaged_lines(table) if table.is_file() else {}
    metrics = list(dict.fromkeys(row.metric for row in measurements))
    figure = Figure(figsize=(8, 2 + 2 * (len(metrics) + 1)), layout="constrained")
    panels = list(figure.subplots(2 + len(metrics), sharex=True, height_ratios=[2] * (1 + len(metrics)) + [1]))
    _draw_losses(panels[0], {key: line for key, line in lines.items() if key not in (*FIXED, SKIPPED)})
    other = read_history(beside) if beside else ("", [])
    for panel, metric in zip(panels[1:], metrics, strict=False):
        _draw_metric(panel, metric, measurements, *other)
        _draw_expected(panel, [row for row in expected if row.metric == metric])
        panel.legend(frameon=False)
    panels[-1].plot(*lines.get("rate", ([], [])), color=COLORS[0])
    panels[-1].set(ylabel="rate", xlabel="iteration")
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(color="#E5E5E5")
        panel.set_axisbelow(True)
    panels[0].set_title(name)
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names in scripts that the font lacks
        figure.savefig(content, format="png", dpi=100)
    write_atomically(content.getvalue(), path)


def averaged_lines(table: Path) -> dict[str, Line]:
    """Columns of a table over the iteration; averages of neighboring rows if there are more than `POINTS`.

    The table is read twice, row by row, so that its length does not matter to the memory.
    """
    group = math.ceil(sum(1 for _ in read_rows(table)) / POINTS) or 1
    lines: dict[str, Line] = {}
    rows: list[dict[str, float]] = []
    for row in read_rows(table):
        rows.append(row)
        if len(rows) == group:
            _add_average(lines, rows)
            rows = []
    if rows:
        _add_average(lines, rows)
    return lines


def _add_average(lines: dict[str, Line], rows: Sequence[dict[str, float]]) -> None:
    iteration = rows[-1]["iteration"]
    for column in dict.fromkeys(column for row in rows for column in row):
        values = [row[column] for row in rows if column in row]
        iterations, averages = lines.setdefault(column, ([], []))
        iterations.append(iteration)
        averages.append(sum(values) / len(values))


def _draw_losses(panel: Axes, losses: dict[str, Line]) -> None:
    for number, (column, line) in enumerate(losses.items()):
        panel.plot(*line, color=COLORS[number % len(COLORS)], label=column.removeprefix("l_"))
    positive = losses and all(min(values) > 0 for _, values in losses.values())
    panel.set(ylabel="loss", yscale="log" if positive else "linear")
    if losses:
        panel.legend(frameon=False)


def _draw_metric(
    panel: Axes, metric: str, measurements: Iterable[Measurement], other: str, beside: Iterable[Measurement]
) -> None:
    dashed = _by_set(metric, beside)
    for number, (dataset, line) in enumerate(_by_set(metric, measurements).items()):
        color = COLORS[number % len(COLORS)]
        label = _as_text(dataset)
        panel.plot(*line, color=color, marker="o", markersize=3, label=f"{label}: {line[1][-1]:.4f}")
        if dataset in dashed:
            label = f"{label}, {_as_text(other)}"
            panel.plot(*dashed[dataset], color=color, linestyle="--", linewidth=1, label=label)
    panel.set(ylabel=_as_text(metric))


def _draw_expected(panel: Axes, rows: Sequence[Expected]) -> None:
    for number, dataset in enumerate(dict.fromkeys(row.dataset for row in rows)):
        curve = [row for row in rows if row.dataset == dataset]
        low, high = ([row.value + sign * row.spread for row in curve] for sign in (-1, 1))
        label, color = f"{_as_text(dataset)}, expected", COLORS[number % len(COLORS)]
        panel.fill_between([row.iteration for row in curve], low, high, color=color, alpha=0.25, label=label)


def _as_text(name: str) -> str:
    """Name as Matplotlib is to write it, without formulas."""
    return printable(name).replace("$", r"\$")


def _by_set(metric: str, measurements: Iterable[Measurement]) -> dict[str, Line]:
    lines: dict[str, Line] = {}
    for row in measurements:
        if row.metric == metric:
            iterations, values = lines.setdefault(row.dataset, ([], []))
            iterations.append(row.iteration)
            values.append(row.value)
    return lines
