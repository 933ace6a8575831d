"""Plots of a benchmark as SVG: PSNR over cost for each test set, and speed relative to the baseline for each case."""

import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ramit_model.benchmark.report.labels import Array, place_labels
from ramit_model.benchmark.results import NetworkCost, Results, SetQuality, psnr_metric

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
"""Okabe and Ito's, which the colour-blind can tell apart; gray instead of yellow, which is hard to see on white."""
SHAPES = "os^v"
"""Of markers: the next one when the colours have run out."""
PIXELS_PER_INCH = 72  # that of SVG: a pixel is a point
AREA = 320
"""Of the marker of the largest network, square points."""
SMALLEST_AREA = 40
INK, GRID, LINE = "#222222", "#DDDDDD", "#999999"

NEAR = 6
"""Pixels between a marker and its name within which no line is needed."""


@dataclass(frozen=True)
class Point:
    """A network in a plot.

    Attributes:
        name: Of the network.
        x: What it costs, in the unit of the axis.
        psnr: What it is worth, dB.
        published: Whether the PSNR is not measured but published.
        parameters: None where unknown.
        number: Of the network; it gives colour and shape.
    """

    name: str
    x: float
    psnr: float
    published: bool
    parameters: int | None
    number: int


def draw_plots(results: Results) -> dict[str, tuple[bytes, str]]:
    """Draw every plot that has something to show.

    Args:
        results: Of a benchmark.

    Returns:
        File below the folder of the report, such as `plots/Set5_psnr_over_mult_adds.svg` -> (SVG, alternative text).
    """
    files = {}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever settings a user has
        # Glyphs become paths, so that every viewer shows the same; the salt makes the same plot the same bytes.
        matplotlib.rc("svg", fonttype="path", hashsalt="ramit")
        matplotlib.rc("font", family="DejaVu Sans", size=9)
        file_names = _file_names(dataset.name for dataset in results.datasets)
        for dataset in results.datasets:
            for cost, x_label, values in _costs(results):
                points = _points(results, dataset, values)
                if len(points) > 1:
                    title = _title(dataset, points)
                    figure = draw_points(points, title=title, x_label=x_label, sized=cost != "parameters")
                    alternative = f"{title}, over {x_label}. {_in_words(points)}."
                    files[f"plots/{file_names[dataset.name]}_psnr_over_{cost}.svg"] = (
                        _svg(figure, title),
                        alternative,
                    )
        speed = draw_speed(results)
        if speed is not None:
            files["plots/speed.svg"] = (_svg(speed, "Speed"), _speed_in_words(results))
    return files


def _file_names(names: Iterable[str]) -> dict[str, str]:
    """Names of files for test sets, different even where upper and lower case are the same."""
    safe: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_+-]+", "_", name)
        taken = {other.lower() for other in safe.values()}
        candidates = (plain, *(f"{plain}_{number}" for number in range(2, len(safe) + 3)))
        safe[name] = next(candidate for candidate in candidates if candidate.lower() not in taken)
    return safe


def _svg(figure: Figure, title: str) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    return content.getvalue()


def _costs(results: Results) -> list[tuple[str, str, dict[str, float]]]:
    """What PSNR is drawn over: name for a file, axis label, network -> cost."""
    counts = {network.name: network.counts for network in results.networks if network.counts is not None}
    outputs = {count.output for count in counts.values()}
    at = " at {}x{} output".format(*outputs.pop()) if len(outputs) == 1 else ""
    costs = [("mult_adds", f"Mult-Adds (G){at}", {name: count.mult_adds / 1e9 for name, count in counts.items()})]
    devices = set()
    for cost in results.costs:
        case = cost.case
        if case.mode == "forward" and case.device not in devices:
            devices.add(case.device)
            seconds = {name: network.median for name, network in cost.networks.items() if network.median is not None}
            unit, factor = _unit(seconds.values())
            values = {name: value * factor for name, value in seconds.items()}
            costs.append((f"latency_{case.device}", f"Latency ({unit}), {case.words}", values))
    costs.append(("parameters", "Parameters (K)", {name: count.parameters / 1e3 for name, count in counts.items()}))
    return costs


def _unit(seconds: Iterable[float]) -> tuple[str, int]:
    """Unit for some times, and how many of it make a second."""
    return ("ms", 1000) if max(seconds, default=0) < 1 else ("s", 1)


def _points(results: Results, dataset: SetQuality, costs: dict[str, float]) -> list[Point]:
    """The networks of which PSNR and cost are known, in order."""
    metric = psnr_metric(dataset.metrics)
    measured = {
        name: quality.average[metric]
        for name, quality in dataset.results.items()
        # An average without some of the images cannot be compared with the others.
        if metric in quality.average and not quality.out_of_memory and math.isfinite(quality.average[metric])
    }
    published = {
        network.name: network.published.sets[dataset.name].psnr
        for network in results.networks
        if network.published is not None and dataset.name in network.published.sets
    }
    # Published averages are over all images and with the metrics of the paper; so must be what stands beside them.
    comparable = len(dataset.images) == dataset.image_count and all(
        metric in dataset.results[name].difference for name in measured.keys() & published.keys()
    )
    psnr = {**published, **measured} if comparable or not measured.keys() & costs.keys() else measured
    return [
        Point(
            name=network.name,
            x=costs[network.name],
            psnr=psnr[network.name],
            published=network.name not in measured,
            parameters=network.counts.parameters if network.counts is not None else None,
            number=number,
        )
        for number, network in enumerate(results.networks)
        if network.name in psnr and network.name in costs
    ]


def _title(dataset: SetQuality, points: Sequence[Point]) -> str:
    """Test set and protocol: `Set5: PSNR on Y, 2 pixels cropped`."""
    if all(point.published for point in points):
        return f"{dataset.name}: published PSNR"
    block = dataset.metrics[psnr_metric(dataset.metrics) or ""]
    border = block.get("crop_border", 0)
    on_y = " on Y" if block.get("test_y_channel") else ""
    cropped = f"{border or 'no'} pixel{'' if border == 1 else 's'} cropped"
    part = len(dataset.images) != dataset.image_count
    images = f", {len(dataset.images)} of {dataset.image_count} images" if part else ""
    return f"{dataset.name}: PSNR{on_y}, {cropped}{images}"


def _in_words(points: Sequence[Point]) -> str:
    return "; ".join(
        f"{point.name}: {point.x:.4g}, {point.psnr:.2f} dB{' (published)' if point.published else ''}"
        for point in points
    )


def draw_points(points: Sequence[Point], *, title: str, x_label: str, sized: bool) -> Figure:
    """Draw PSNR over a cost.

    Args:
        points: Two or more.
        title: Above.
        x_label: With the unit.
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
    _tidy(axes)
    axes.grid(color=GRID, linewidth=0.8)

    areas = [_area(point, largest) if sized else 110 for point in points]
    for area, point in sorted(zip(areas, points, strict=True), key=lambda pair: -pair[0]):  # small ones on top
        colour = _colour(point.number)
        axes.scatter(
            point.x,
            point.psnr,
            s=area,
            marker=SHAPES[point.number // len(COLOURS) % len(SHAPES)],
            facecolors="none" if point.published else colour,
            edgecolors=colour if point.published else "white",
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


def _tidy(axes: Axes) -> None:
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(color=LINE)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _area(point: Point, largest: int) -> float:
    """Of a marker, square points."""
    return max(SMALLEST_AREA, AREA * (point.parameters or 0) / max(largest, 1))


def _add_legend(figure: Figure, points: Sequence[Point], largest: int | None) -> bool:
    """Say below the plot what markers mean; whether that was needed."""
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
    """Write each point's name beside it, and draw a line to those that had to go farther away."""
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
    extents = [label.get_window_extent() for label in labels]
    sizes = np.array([(extent.width, extent.height) for extent in extents])
    centres: Array = axes.transData.transform([(point.x, point.psnr) for point in points])
    radii = np.sqrt(areas) / 2 + 1  # with the edge
    frame = axes.get_window_extent()
    corners = place_labels(centres, radii, sizes, (frame.x0, frame.y0, frame.x1, frame.y1))
    for label, point, centre, radius, corner, size in zip(labels, points, centres, radii, corners, sizes, strict=True):
        label.set_position(tuple(corner - centre))
        end = np.clip(centre, corner, corner + size)
        way = end - centre
        distance = float(np.hypot(*way))
        if distance > radius + NEAR:
            line = axes.transData.inverted().transform([centre + way * radius / distance, end])
            axes.plot(line[:, 0], line[:, 1], color=_colour(point.number), linewidth=0.8, zorder=2)


def draw_speed(results: Results) -> Figure | None:
    """Draw the ratio of the baseline's time to that of each network as bars, a group of bars for each case.

    Args:
        results: Of a benchmark.

    Returns:
        The figure; None where no network but the baseline has a ratio.
    """
    others = (cost for case in results.costs for name, cost in case.networks.items() if name != results.baseline)
    if all(cost.ratio is None for cost in others):
        return None
    rows = sum(len(case.networks) + 1.6 for case in results.costs)
    width, height = 7.0, 0.21 * rows + 1
    figure = Figure(figsize=(width, height), dpi=PIXELS_PER_INCH)
    FigureCanvasAgg(figure)  # measures texts
    left = max(_width(figure, network.name) for network in results.networks) + 18
    columns = _columns(figure, results)
    axes = figure.add_axes(
        (
            left / (width * PIXELS_PER_INCH),
            0.55 / height,
            1 - (left + columns[-1] + 12) / (width * PIXELS_PER_INCH),
            1 - 0.9 / height,
        )
    )
    axes.set_title(f"Speed relative to {results.baseline}", fontsize=11, color=INK, parse_math=False)
    axes.set_xlabel(f"Time of {results.baseline} over time of the network (above 1: faster)", parse_math=False)
    axes.set_xlim(0, _longest_bar(results) * 1.02)
    axes.set_ylim(rows - 0.6, -0.6)
    top, names = 0.0, {}
    for case in results.costs:
        heading: dict[str, Any] = {"weight": "bold", "color": INK, "verticalalignment": "center"}
        axes.annotate(case.case.words, (0, top), (2, 0), textcoords="offset points", **heading)
        for row, (name, cost) in enumerate(case.networks.items(), start=1):
            names[top + row] = name
            number = next(number for number, network in enumerate(results.networks) if network.name == name)
            _draw_bar(figure, axes, top + row, cost, _colour(number), columns)
        axes.vlines(1, top + 0.5, top + len(case.networks) + 0.5, color=INK, linewidth=1, zorder=3)
        top += len(case.networks) + 1.6
    axes.set_yticks(list(names), labels=list(names.values()), parse_math=False)
    _tidy(axes)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    return figure


def _longest_bar(results: Results) -> float:
    """How far bars and their spreads reach, at least to 1."""
    costs = [cost for case in results.costs for cost in case.networks.values()]
    ends = [cost.ratio for cost in costs if cost.ratio is not None]
    ends += [cost.ratio_spread.high for cost in costs if cost.ratio_spread is not None]
    return max(1.0, *ends)


def _columns(figure: Figure, results: Results) -> tuple[float, float]:
    """Where ratios and times end to the right of the bars, pixels."""
    texts = [_cost_in_words(cost) for case in results.costs for cost in case.networks.values()]
    ratio, time = (max(_width(figure, text) for text in column) for column in zip(*texts, strict=True))
    return ratio + 8, ratio + time + 16


def _draw_bar(figure: Figure, axes: Axes, row: float, cost: NetworkCost, colour: str, columns: Sequence[float]) -> None:
    """Draw ratio and spread, and write both columns; or what went wrong."""
    style: dict[str, Any] = {"textcoords": "offset points", "verticalalignment": "center", "color": INK, "zorder": 5}
    if cost.median is None:
        text = " ".join((cost.failure or "not measured").split())[:200]
        room = axes.get_window_extent().width + columns[-1] - 6
        while _width(figure, text) > room:  # errors may be long
            text = f"{text[:-2].rstrip()}…"
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.annotate(text, (0, row), (4, 0), fontstyle="italic", parse_math=False, bbox=box, **style)
        return
    if cost.ratio is not None:
        axes.barh(row, cost.ratio, height=0.72, color=colour, zorder=2)
    if cost.ratio_spread is not None:
        axes.plot(cost.ratio_spread, (row, row), color=INK, linewidth=1.2, zorder=4)
    for text, column in zip(_cost_in_words(cost), columns, strict=True):
        right: dict[str, Any] = {"horizontalalignment": "right", "xycoords": axes.get_yaxis_transform()}
        axes.annotate(text, (1, row), (column, 0), **right, **style)


def _width(figure: Figure, text: str) -> float:
    """Of a text in the figure, pixels."""
    label = figure.text(0, 0, text, parse_math=False)
    width = label.get_window_extent().width
    label.remove()
    return width


def _cost_in_words(cost: NetworkCost) -> tuple[str, str]:
    """Ratio and median time; empty where unknown."""
    if cost.median is None:
        return "", ""
    unit, factor = _unit([cost.median])
    time = cost.median * factor
    decimals = 0 if time >= 100 else 1 if time >= 10 else 2
    return "" if cost.ratio is None else f"{cost.ratio:.2f}x", f"{time:.{decimals}f} {unit}"


def _speed_in_words(results: Results) -> str:
    cases = []
    for case in results.costs:
        ratios = (f"{name} {_cost_in_words(cost)[0] or cost.failure}" for name, cost in case.networks.items())
        cases.append(f"{case.case.words}: {', '.join(ratios)}")
    return f"Speed relative to {results.baseline}. {'; '.join(cases)}."
