"""Bar chart of the speed of networks relative to the baseline, a group of bars for each case."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ramit_model.benchmark.report.plot_style import GRID, INK, PIXELS_PER_INCH, color_of, tidy, time_unit
from ramit_model.benchmark.results import NetworkCost, Results


def draw_speed(results: Results) -> Figure | None:
    """Draw the ratio of the baseline's time to that of each network as bars, a group of bars for each case.

    Returns:
        The figure; None if no network but the baseline has a ratio.
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
            number = next(network.number for network in results.networks if network.name == name)
            _draw_bar(figure, axes, top + row, cost, color_of(number), columns)
        axes.vlines(1, top + 0.5, top + len(case.networks) + 0.5, color=INK, linewidth=1, zorder=3)
        top += len(case.networks) + 1.6
    axes.set_yticks(list(names), labels=list(names.values()), parse_math=False)
    tidy(axes)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    return figure


def _longest_bar(results: Results) -> float:
    """Largest x of bars and their spreads, at least 1."""
    costs = [cost for case in results.costs for cost in case.networks.values()]
    ends = [cost.ratio for cost in costs if cost.ratio is not None]
    ends += [cost.ratio_spread.high for cost in costs if cost.ratio_spread is not None]
    return max(1.0, *ends)


def _columns(figure: Figure, results: Results) -> tuple[float, float]:
    """Right edges of the columns of ratios and times, pixels from the end of the bars."""
    texts = [_cost_in_words(cost) for case in results.costs for cost in case.networks.values()]
    ratio, time = (max(_width(figure, text) for text in column) for column in zip(*texts, strict=True))
    return ratio + 8, ratio + time + 16


def _draw_bar(figure: Figure, axes: Axes, row: float, cost: NetworkCost, color: str, columns: Sequence[float]) -> None:
    """Draw ratio and spread, and write both columns; or the reason of a failure."""
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
        axes.barh(row, cost.ratio, height=0.72, color=color, zorder=2)
    if cost.ratio_spread is not None:
        axes.plot(cost.ratio_spread, (row, row), color=INK, linewidth=1.2, zorder=4)
    for text, column in zip(_cost_in_words(cost), columns, strict=True):
        right: dict[str, Any] = {"horizontalalignment": "right", "xycoords": axes.get_yaxis_transform()}
        axes.annotate(text, (1, row), (column, 0), **right, **style)


def _width(figure: Figure, text: str) -> float:
    """Width of a text in the figure, pixels."""
    label = figure.text(0, 0, text, parse_math=False)
    width = label.get_window_extent().width
    label.remove()
    return width


def _cost_in_words(cost: NetworkCost) -> tuple[str, str]:
    """Ratio and median time as text; empty if unknown."""
    if cost.median is None:
        return "", ""
    unit, factor = time_unit([cost.median])
    time = cost.median * factor
    decimals = 0 if time >= 100 else 1 if time >= 10 else 2
    return "" if cost.ratio is None else f"{cost.ratio:.2f}x", f"{time:.{decimals}f} {unit}"


def describe_speed(results: Results) -> str:
    """Alternative text of the chart."""
    cases = []
    for case in results.costs:
        ratios = (f"{name} {_cost_in_words(cost)[0] or cost.failure}" for name, cost in case.networks.items())
        cases.append(f"{case.case.words}: {', '.join(ratios)}")
    return f"Speed relative to {results.baseline}. {'; '.join(cases)}."
