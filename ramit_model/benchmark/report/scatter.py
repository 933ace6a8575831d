"""Plot of PSNR over a cost: one marker per network, with its name beside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ramit_model.benchmark.report.labels import place_names
from ramit_model.benchmark.report.plot_style import COLORS, GRID, INK, LINE, PIXELS_PER_INCH, color_of, tidy

SHAPES = "os^v"
"""Marker shapes: the next one when the colors have run out."""
AREA = 320
"""Area of the marker of the largest network, square points."""
SMALLEST_AREA = 40
NEAR = 6
"""Pixels between a marker and its name within which no line is needed."""


@dataclass(frozen=True)
class Point:
    """A network in a plot.

    Attributes:
        name: Name of the network.
        x: Cost, in the unit of the axis.
        psnr: PSNR, dB.
        published: Whether the PSNR is published, not measured.
        parameters: Number of parameters; None if unknown.
        number: Number of the network in the option file, which gives color and shape.
    """

    name: str
    x: float
    psnr: float
    published: bool
    parameters: int | None
    number: int


def draw_points(points: Sequence[Point], *, title: str, x_label: str, sized: bool) -> Figure:
    """Draw PSNR over a cost.

    Args:
        points: At least two points.
        title: Title above the plot.
        x_label: Label of the x axis, with the unit.
        sized: Whether the area of a marker grows with the number of parameters.

    Returns:
        The figure; `axes.texts` are the names of the points, in order.
    """
    figure = Figure(figsize=(7, 4.9), dpi=PIXELS_PER_INCH)
    FigureCanvasAgg(figure)  # measures texts
    largest = max((point.parameters or 0 for point in points), default=0)
    explained = _add_legend(figure, points, largest if sized else None)
    bottom = 0.2 if explained else 0.12
    axes = figure.add_axes((0.115, bottom, 0.86, 0.92 - bottom))
    axes.set_title(title, fontsize=11, color=INK, parse_math=False)
    axes.set_xlabel(x_label, parse_math=False)
    axes.set_ylabel("PSNR (dB)")
    axes.set_xlim(_limits([point.x for point in points], least=0.02 * max(point.x for point in points)))
    axes.set_ylim(_limits([point.psnr for point in points], least=0.02))
    axes.ticklabel_format(useOffset=False, style="plain")
    tidy(axes)
    axes.grid(color=GRID, linewidth=0.8)

    areas = [_area(point, largest) if sized else 110 for point in points]
    for area, point in sorted(zip(areas, points, strict=True), key=lambda pair: -pair[0]):  # small ones on top
        color = color_of(point.number)
        axes.scatter(
            point.x,
            point.psnr,
            s=area,
            marker=SHAPES[point.number // len(COLORS) % len(SHAPES)],
            facecolors="none" if point.published else color,
            edgecolors=color if point.published else "white",
            linewidths=2 if point.published else 0.8,
            zorder=3,
        )
    _name_points(axes, points, areas)
    return figure


def _limits(values: Sequence[float], least: float) -> tuple[float, float]:
    """Limits of an axis, with room for names beside the points."""
    low, high = min(values), max(values)
    span = max(high - low, least)
    middle = (low + high) / 2
    return middle - 0.72 * span, middle + 0.72 * span


def _area(point: Point, largest: int) -> float:
    """Area of a marker, square points."""
    return max(SMALLEST_AREA, AREA * (point.parameters or 0) / max(largest, 1))


def _add_legend(figure: Figure, points: Sequence[Point], largest: int | None) -> bool:
    """Explain the markers below the plot; returns whether that was needed."""
    plain: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 9, "color": LINE}
    handles = []
    if any(point.published for point in points):
        if not all(point.published for point in points):
            handles.append(Line2D([], [], label="measured", **plain))
        hollow: dict[str, Any] = {"markerfacecolor": "none", "markeredgewidth": 2}
        handles.append(Line2D([], [], label="published", **plain, **hollow))
    if largest:
        size = math.sqrt(AREA)
        label = f"area: parameters, this is {largest / 1e3:.0f}K"
        handles.append(Line2D([], [], label=label, **{**plain, "markersize": size, "color": GRID}))
    if handles:
        figure.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.54, 0.0), ncols=3, frameon=False)
    return bool(handles)


def _name_points(axes: Axes, points: Sequence[Point], areas: Sequence[float]) -> None:
    """Write the names beside the points, with a line to those farther away."""
    labels = [
        axes.annotate(
            point.name,
            (point.x, point.psnr),
            xytext=(0, 0),
            textcoords="offset points",
            verticalalignment="bottom",
            color=INK,
            zorder=5,
            parse_math=False,
        )
        for point in points
    ]
    radii = np.sqrt(areas) / 2 + 1  # with the edge
    place_names(axes, labels, radii, [color_of(point.number) for point in points], near=NEAR, linewidth=0.8)
