"""Colors, axes and files that all plots share."""

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


@contextmanager
def plain_settings() -> Iterator[None]:
    """Ignore the settings of the user; the same plot gives the same bytes, which every viewer shows alike."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        # Glyphs become paths, or are embedded.
        matplotlib.rc("svg", fonttype="path", hashsalt="ramit")
        matplotlib.rc("pdf", fonttype=42)
        matplotlib.rc("font", family="DejaVu Sans", size=9)
        yield


def file_names(names: Iterable[str]) -> dict[str, str]:
    """File names of image sets, distinct even on file systems that ignore case."""
    safe: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_+-]+", "_", name)
        taken = {other.lower() for other in safe.values()}
        candidates = (plain, *(f"{plain}_{number}" for number in range(2, len(safe) + 3)))
        safe[name] = next(candidate for candidate in candidates if candidate.lower() not in taken)
    return safe


def as_svg(figure: Figure, title: str) -> bytes:
    """SVG of a figure, without a date."""
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    return content.getvalue()


def as_pdf(figure: Figure, title: str) -> bytes:
    """PDF of a figure, as papers want it, without a date."""
    content = io.BytesIO()
    figure.savefig(content, format="pdf", metadata={"CreationDate": None, "Creator": None, "Title": title})
    return content.getvalue()
