"""Progress where a line cannot be replaced, as in the log of a batch job: a line now and then."""

import sys
import time
from typing import Any, TextIO

PAUSE = 30.0
"""Seconds between two lines; what takes less says nothing."""


class _Lines:
    """Stream that makes lines of the states of a bar, which also shows itself when its description changes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._said = stream, time.monotonic()

    def write(self, text: str) -> int:
        """Write what is not blank as a line of its own, if the last one is a while ago."""
        state = text.strip().replace(": : ", ": ")
        if state and time.monotonic() - self._said >= PAUSE:
            self._said = time.monotonic()
            print(state, file=self._stream, flush=True)
        return len(text)

    def flush(self) -> None:
        """Do nothing: lines are flushed."""


def bar_options(*, hidden: bool = False, leave: bool = True) -> dict[str, Any]:
    """Arguments of tqdm for a bar on a terminal, and a line every half minute elsewhere.

    Args:
        hidden: Show neither.
        leave: Whether a finished bar stays on the terminal.
    """
    if hidden or sys.stderr.isatty():
        return {"disable": hidden, "leave": leave}
    form = "{desc}: {n_fmt} of {total_fmt}, {elapsed} (left: {remaining})"
    times = {"delay": PAUSE, "mininterval": PAUSE, "maxinterval": PAUSE, "miniters": 1}
    return {"file": _Lines(sys.stderr), "bar_format": form, "leave": False, "position": 0, **times}
