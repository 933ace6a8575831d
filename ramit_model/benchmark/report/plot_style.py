"""Colors and axes that all plots share."""

from collections.abc import Iterable

from matplotlib.axes import Axes

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
"""Palette of Okabe and Ito, safe for color-blind readers; gray instead of yellow, which is hard to see on white."""
PIXELS_PER_INCH = 72  # that of SVG: a pixel is a point
INK, GRID, LINE = "#222222", "#DDDDDD", "#999999"


def color_of(number: int) -> str:
    """Color of a network by its number in the results, from 0."""
    return COLORS[number % len(COLORS)]


def tidy(axes: Axes) -> None:
    """Remove the upper and right spine, and draw the others in gray."""
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(color=LINE)


def time_unit(seconds: Iterable[float]) -> tuple[str, int]:
    """Unit for some times, and its number per second."""
    return ("ms", 1000) if max(seconds, default=0) < 1 else ("s", 1)
