"""Progress of `basicsr restore`: a bar on a terminal, else a line a minute; lines about single files; a last line."""

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from ramit_model.inference.batch.jobs import Job
from ramit_model.system.processes import process_label
from ramit_model.system.text import printable

if TYPE_CHECKING:
    from tqdm import tqdm
    from typing_extensions import Never  # typing has it from Python 3.11 on

LINE_EVERY = 60.0
"""Seconds between lines where there is no terminal."""

MEGA = 1e6


class ProgressReport:
    """Report on stderr; the last line goes to stdout.

    Args:
        total: Pictures to restore.
        skipped: Pictures that were there already.
        where: Where the results lie.
        stream: Where lines and the bar go.
    """

    def __init__(self, total: int, *, skipped: int, where: Path, stream: TextIO | None = None) -> None:
        self._total, self._skipped, self._where = total, skipped, where
        self._stream = stream or sys.stderr
        self._started = self._said = time.monotonic()
        self._bar: tqdm[Never] | None = None
        self._processed, self._part, self._pixels = 0, 0.0, 0
        self.done, self.failures = 0, 0

    def __enter__(self) -> "ProgressReport":
        self._started = self._said = time.monotonic()
        if self._stream.isatty() and not process_label():
            from tqdm import tqdm

            form = "{percentage:3.0f}% {bar} {desc}, {elapsed} (left: {remaining}){postfix}"
            self._bar = tqdm(total=self._total, file=self._stream, bar_format=form, leave=False, dynamic_ncols=True)
            self._show()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def note(self, job: Job, text: str) -> None:
        """Say something about a picture."""
        self._line(f"{printable(job.source)}: {text}")

    def failed(self, job: Job, text: str) -> None:
        """Name a file that could not be restored."""
        self.failures += 1
        self._line(f"{printable(job.source)}: {printable(text)}")
        self._step()

    def progress(self, share: float) -> None:
        """Move on within a picture."""
        self._part = share
        self._show()
        self._say_now_and_then()

    def processed(self, pixels: int) -> None:
        """Count what the network has done."""
        self._processed += 1
        self._part = 0.0
        self._pixels += pixels

    def written(self, job: Job) -> None:
        """Count an output."""
        self.done += 1
        self._step()

    def finish(self) -> None:
        """Say what was done, and where it lies."""
        parts = []
        if self.done:
            seconds = time.monotonic() - self._started
            rate = f"{self._pixels / MEGA:.3g} MP in {_duration(seconds)}, {self._rate():.2g} MP/s"
            parts.append(f"{_count(self.done)} restored ({rate})")
        if self._skipped:
            parts.append(f"{self._skipped} skipped, being there already (--overwrite restores them again)")
        if self.failures:
            parts.append(f"{self.failures} failed")
        print(f"{'; '.join(parts)}: {printable(self._where)}{process_label()}", flush=True)

    def _rate(self) -> float:
        return self._pixels / MEGA / max(time.monotonic() - self._started, 1e-9)

    def _step(self) -> None:
        self._show()
        self._say_now_and_then()

    def _say_now_and_then(self) -> None:
        now = time.monotonic()
        if self._bar is not None or now - self._said < LINE_EVERY:
            return
        self._said = now
        behind = self._behind()
        parts = [f"{self.done + self.failures} of {self._total} ({behind / self._total:.0%})"]
        parts += [f"{self._rate():.2g} MP/s"] if self._pixels else []
        parts += [f"about {_duration((now - self._started) / behind * (self._total - behind))} left"] if behind else []
        self._line(", ".join(parts))

    def _behind(self) -> float:
        """Pictures that are done or cannot be, and the share of the one at hand."""
        return min(self._processed + self._part + self.failures, self._total)

    def _show(self) -> None:
        if self._bar is None:
            return
        self._bar.n = self._behind()
        self._bar.set_description_str(f"{self.done + self.failures} of {self._total}", refresh=False)
        self._bar.set_postfix_str(f"{self._rate():.2g} MP/s" if self._pixels else "", refresh=True)

    def _line(self, text: str) -> None:
        line = f"basicsr restore{process_label()}: {text}"
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        else:
            print(line, file=self._stream, flush=True)


def _count(number: int) -> str:
    return f"{number} picture{'s' * (number != 1)}"


def _duration(seconds: float) -> str:
    """Duration in words, for example 8 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
