"""Numbers as text; `-` stands for a missing value."""

import math

from ramit_model.benchmark.report.table import MISSING
from ramit_model.benchmark.results import Interval


def fixed(value: float | None, decimals: int, *, signed: bool = False) -> str:
    """Number with fixed decimals; zero has no sign."""
    if value is None or math.isnan(value):
        return MISSING
    text = f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def decimals_of(value: float, least: int) -> int:
    """Decimals with which a number was written, but at least as many as these.

    >>> decimals_of(38.1837, 2), decimals_of(38.1, 2)
    (4, 2)
    """
    return max(least, len(repr(value).partition(".")[2]))


def significant(value: float | None, digits: int = 4) -> str:
    """Number with `digits` significant digits, never with an exponent."""
    if value is None or not math.isfinite(value):
        return MISSING
    before = math.floor(math.log10(abs(value))) + 1 if value else 1
    return f"{value:.{max(0, digits - before)}f}"


def interval_text(interval: Interval | None, decimals: int | None, *, signed: bool = False) -> str:
    """Limits as `1.20 to 1.40`; with significant digits if `decimals` is None."""
    if interval is None or any(map(math.isnan, interval)):
        return MISSING
    if decimals is None:
        return " to ".join(map(significant, interval))
    return " to ".join(fixed(limit, decimals, signed=signed) for limit in interval)


def probability(value: float) -> str:
    """P-value with three significant digits."""
    return MISSING if math.isnan(value) else f"{value:.3g}"


def counted(number: int, noun: str) -> str:
    """Number and noun, as in `1 image` and `2 images`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def size_text(size: tuple[int, int]) -> str:
    """Width and height as `1280x720`."""
    return f"{size[0]}x{size[1]}"
