"""End of a training at SIGTERM or Ctrl-C: the iteration is finished and a checkpoint saved, then the process ends."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from ramit_model.system.processes import STOP_SIGNALS

SAME = 2.0
"""Seconds within which further signals are the same one: what ends a group of processes often tells each twice."""


class StoppedError(Exception):
    """End of a training that was told to stop.

    Args:
        number: Number of the signal.
        iteration: Iteration at which a checkpoint was saved; None if there was nothing new to save.
    """

    def __init__(self, number: int, iteration: int | None) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number, self.iteration = number, iteration


class Interruption:
    """Signals that tell a training to stop, and the agreement of its processes on the iteration at which they do.

    Args:
        several: Whether there are several processes; all of them must make one then, and call `agreed` equally often.
        timeout: Time that they wait for each other; None for that of PyTorch.
    """

    def __init__(self, *, several: bool = False, timeout: timedelta | None = None) -> None:
        self.noted: int | None = None
        """Signal that this process got."""
        self._since = 0.0
        # On the CPU, whatever the gradients travel by, so that nothing waits for a GPU.
        self._group: Any = dist.new_group(backend="gloo", timeout=timeout) if several else None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note the signals, from the main thread; one that the process was started to ignore stays ignored."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self.noted is None:
            self.noted, self._since = number, now
            if not self._group or dist.get_rank() == 0:
                name = signal.Signals(number).name
                with suppress(OSError):  # not print, which may be at work when this is called
                    os.write(
                        2,
                        f"\n{name}: saves a checkpoint after this iteration, then ends; again: ends at once\n".encode(),
                    )
        elif now - self._since > SAME:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            signal.raise_signal(number)

    def agreed(self) -> int | None:
        """Signal that any of the processes got; the same in all of them. Waits for all."""
        if not self._group:
            return self.noted
        flag = torch.tensor([self.noted or 0])
        dist.all_reduce(flag, dist.ReduceOp.MAX, group=self._group)
        return int(flag) or None

    def wait_for_all(self) -> None:
        """Wait until all processes are here: the first one to end has the launcher end the others."""
        if self._group:
            dist.barrier(group=self._group)
