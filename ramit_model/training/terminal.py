"""Terminal output of a training or a test; the log file has everything."""

import logging
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ramit_arch.kernels.cpu.library import library
from ramit_model.training.criteria import losses_of

FILE_ONLY = {"file_only": True}
"""`extra` of a log record that only the log file gets."""

PAUSE = 30.0
"""Seconds between two progress lines where a line cannot be replaced (output in a file)."""


UNTRUE = "Multiple validation datasets are *only* supported by SRModel."
"""Warning of BasicSR's loop, which looks at the name of the model: ours is an SRModel."""


class TerminalHandler(logging.Handler):
    """Writes log records above a progress bar, if there is one.

    Warnings pass, and what our own and users' modules say, but for `FILE_ONLY` records. Of BasicSR itself only the
    results of a validation pass: the rest is its banner, all options and all layers of the network.
    """

    def __init__(self) -> None:
        super().__init__()
        self.basicsr = str(Path(sys.modules["basicsr"].__file__ or "").parent)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is for the terminal."""
        if record.levelno >= logging.WARNING:
            return record.getMessage() != UNTRUE
        if record.pathname.startswith(self.basicsr):
            return record.funcName == "_log_validation_metric_values"
        return not getattr(record, "file_only", False)

    def format(self, record: logging.LogRecord) -> str:
        """The message alone; a warning begins with its level."""
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return f"{level}{super().format(record)}"

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record to stderr."""
        tqdm.write(self.format(record), file=sys.stderr)


def only_what_matters(logger: logging.Logger) -> None:
    """Give a logger of BasicSR's a `TerminalHandler` in place of the handler that shows everything."""
    for handler in list(logger.handlers):
        if type(handler) is logging.StreamHandler:
            logger.removeHandler(handler)
            logger.addHandler(TerminalHandler())


def describe_run(opt: dict[str, Any]) -> str:
    """First line of a run: what runs on what.

    Args:
        opt: Options after BasicSR's parser.
    """
    network = opt["network_g"].get("variant") or opt["network_g"]["type"]
    verb = "train" if opt["is_train"] else "test"
    return f"{verb} {opt['name']}: {network} on {describe_device(opt)}, PyTorch {torch.__version__}"


def describe_device(opt: dict[str, Any]) -> str:
    """Device of a run, for example `the CPU (2 threads, compiled kernels)`.

    Args:
        opt: Options after BasicSR's parser.
    """
    several = opt["world_size"] > 1
    if opt["num_gpu"]:
        name = torch.cuda.get_device_name()
        return f"{opt['world_size']} x {name}" if several else name
    threads = torch.get_num_threads()
    parts = [f"{threads} thread{'s' * (threads > 1)}{' each' * several}"]
    if several:
        parts.insert(0, f"{opt['world_size']} processes")
    parts.append("compiled kernels" if library() else "no compiled kernels")
    return f"the CPU ({', '.join(parts)})"


def describe_schedule(train: dict[str, Any]) -> str:
    """Optimizer, learning rate and losses in one line.

    Args:
        train: Block `train` of the options.
    """
    rate = f"{train['optim_g']['type']}, rate {train['optim_g']['lr']:g}"
    if train.get("warmup_iter", -1) > 0:
        rate += f" after {train['warmup_iter']:,} of warm-up"
    scheduler = train["scheduler"]
    if "milestones" in scheduler:
        steps = ", ".join(f"{milestone:,}" for milestone in scheduler["milestones"])
        rate += f", times {scheduler.get('gamma', 0.1):g} after {steps}"
    else:
        rate += f", {scheduler['type']}"
    losses = [loss.block["type"] for loss in losses_of(train)]
    return f"schedule: {rate}; {' and '.join(losses)}"


def describe_results(opt: dict[str, Any]) -> str:
    """Last line of a run: where its results lie.

    Args:
        opt: Options after BasicSR's parser.
    """
    if not opt["is_train"]:
        pictures = ", pictures in visualization" if opt["val"].get("save_img") else ""
        return f"results: {_relative(opt['path']['results_root'])} (tables, log{pictures})"
    best = Path(opt["path"]["models"], "net_g_best.pth")
    weights = f"net_g_latest.pth{', net_g_best.pth' * best.is_file()} in {_relative(best.parent)}"
    curve = Path(opt["path"]["experiments_root"], "learning_curve.png")
    drawn = f"; {_relative(curve)}" if curve.is_file() else ""
    return f"results: weights {weights}{drawn}; log in {_relative(opt['path']['log'])}"


def _relative(path: str | Path) -> Path:
    """Path as seen from the current folder, if it is below that."""
    path = Path(path)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


class ProgressLine:
    """Progress of a training on stderr: one line that is replaced on a terminal, else a line now and then.

    Args:
        total: Last iteration.
        start: Last iteration before a resumed training was interrupted, or 0.
    """

    def __init__(self, total: int, start: int) -> None:
        self.total, self.start = total, start
        self._said: float | None = None
        self._begun = time.monotonic()
        self._bar: Any = None
        _lines.add(self)

    def is_due(self) -> bool:
        """Whether there is no terminal and nothing was said for a while."""
        return not sys.stderr.isatty() and time.monotonic() - (self._said or self._begun) >= PAUSE

    def show(self, iteration: int, text: str) -> None:
        """Show how far the training is.

        Args:
            iteration: Iterations done.
            text: Losses, rate, time to the end.
        """
        if sys.stderr.isatty():
            if self._bar is None:
                form = "{percentage:3.0f}% |{bar:20}| {n_fmt} of {total_fmt}: {desc}"
                self._bar = tqdm(total=self.total, initial=self.start, bar_format=form, leave=False)
            self._bar.n = iteration
            self._bar.set_description_str(text)
            if iteration >= self.total:
                self.close()
        elif self._said is None or time.monotonic() - self._said >= PAUSE or iteration >= self.total:
            self._said = time.monotonic()
            tqdm.write(f"{iteration:,} of {self.total:,}: {text}", file=sys.stderr)

    def close(self) -> None:
        """Remove the line from the terminal."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextmanager
def progress_line_removed() -> Iterator[None]:
    """Remove the progress line in the end, so that an error has a line of its own."""
    try:
        yield
    finally:
        for line in list(_lines):
            line.close()


_lines: "weakref.WeakSet[ProgressLine]" = weakref.WeakSet()
