"""Results that a training is expected to come to, where they are known."""

from collections.abc import Iterable
from typing import NamedTuple


class Expected(NamedTuple):
    """Average of a metric over a data set, as several trainings with different seeds came to it."""

    iteration: int
    dataset: str
    metric: str
    value: float
    spread: float
    """Largest distance of one of them from the average."""

    def __str__(self) -> str:
        digits = 2 if self.value >= 1 else 4  # PSNR and SSIM
        return f"{self.value:.{digits}f} ± {self.spread:.{digits}f}"


def describe_end(expected: Iterable[Expected]) -> str:
    """Line about the last iteration; empty where nothing is known."""
    rows = list(expected)
    last = max((row.iteration for row in rows), default=0)
    values = ", ".join(f"{row.metric} {row}" for row in rows if row.iteration == last)
    return f"expected at {last:,} iterations: {values}" if rows else ""
