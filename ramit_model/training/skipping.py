"""Iterations whose gradient leaps, which a training may leave out."""

import math
import statistics
from collections import deque
from typing import Any

WINDOW = 100
"""Number of iterations whose gradient norms the median is of."""

LEAST = 10
"""Number of norms that are needed to compare with."""


SKIPPED = "skipped"
"""Name in logs of the number of skipped iterations."""


class LeapFilter:
    """Finds the iterations whose gradient is much larger than lately.

    An iteration leaps if the L2 norm of its gradient is above `factor` times the median of the last 100 norms, once
    there are 10, or if it is not finite. Finite norms of leaps are in the median, too: a gradient that has become
    larger for good leaps for half of the 100 iterations at most.

    Args:
        factor: `train.skip_above`.

    Attributes:
        count: Leaps so far.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.count = 0
        self._norms: deque[float] = deque(maxlen=WINDOW)
        self._in_a_row = 0

    @property
    def median(self) -> float:
        """Median of the last norms; infinite while there are too few to compare with."""
        return statistics.median(self._norms) if len(self._norms) >= LEAST else math.inf

    def leaps(self, norm: float) -> bool:
        """Whether an iteration leaps; counts it.

        Args:
            norm: L2 norm of its gradient, before clipping.

        Raises:
            FloatingPointError: The last 100 iterations have all leapt.
        """
        leap = not math.isfinite(norm) or norm > self.factor * self.median
        if math.isfinite(norm):
            self._norms.append(norm)
        self.count += leap
        self._in_a_row = self._in_a_row + 1 if leap else 0
        if self._in_a_row >= WINDOW:
            raise FloatingPointError(f"{WINDOW} iterations in a row have no finite gradient")
        return leap

    def forget(self) -> None:
        """Leave out all norms so far, for other parameters are trained from now on."""
        self._norms.clear()

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed training needs to go on in the same way, as plain data."""
        return {"norms": list(self._norms), "count": self.count, "in_a_row": self._in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a result of `state_dict`."""
        self._norms = deque(state["norms"], maxlen=WINDOW)
        self.count, self._in_a_row = state["count"], state["in_a_row"]
