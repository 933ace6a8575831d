"""Map in several processes: results in order, few of them waiting, no process left behind."""

import itertools
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import (
    connection,
    get_all_start_methods,
    get_context,
    get_start_method,
    parent_process,
    resource_tracker,
)
from pathlib import Path
from typing import Any, TypeVar

from ramit_model.system.errors import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")

WAITING = 2
"""Tasks submitted for each process: bounds the results in memory, whatever the number of tasks."""


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_of_this_process() -> tuple[int, int]:
    """Rank of this process, and number of processes, as a launcher (torchrun, Slurm) says; 0 and 1 without one."""
    names = ("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")
    for rank, count in names:
        if rank in os.environ and count in os.environ:
            return int(os.environ[rank]), int(os.environ[count])
    return 0, 1


def patience(options: Mapping[str, Any]) -> timedelta | None:
    """Time that one of several processes waits for the others, `dist_params.timeout`; None for that of PyTorch."""
    seconds = (options.get("dist_params") or {}).get("timeout")
    return timedelta(seconds=seconds) if seconds else None


def process_label() -> str:
    """Name of this process in messages; nothing if it is the only or the first one that torchrun started."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f" [process {rank}]"


def local_rank() -> int:
    """Rank of this process among those on this machine; 0 without a launcher."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")))


def ordered_map(function: Callable[[Task], Result], tasks: Iterable[Task], jobs: int) -> Iterator[Result]:
    """Map a function over tasks in several processes.

    Args:
        function: Picklable function of a module that is quick to import.
        tasks: Picklable arguments.
        jobs: Number of processes; 1 uses this one.

    Yields:
        Results in the order of `tasks`; at most `WAITING * jobs` are held.

    Raises:
        InputError: A process died.
    """
    if jobs == 1:
        yield from map(function, tasks)
        return
    # Spawned, not forked: the parent has threads and an open LMDB.
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=end_with_parent)
    waiting: deque[Future[Result]] = deque()
    tasks = iter(tasks)
    try:
        for task in itertools.islice(tasks, WAITING * jobs):
            waiting.append(_submit(pool, function, task))
        while waiting:
            yield waiting.popleft().result()
            for task in itertools.islice(tasks, 1):
                waiting.append(_submit(pool, function, task))
    except BrokenProcessPool:
        raise InputError(
            "a process was killed, most likely for want of memory; run the same command with fewer --jobs"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, function: Callable[[Task], Result], task: Task) -> Future[Result]:
    with ctrl_c_put_off():
        return pool.submit(function, task)


@contextmanager
def ctrl_c_put_off() -> Iterator[None]:
    """Delay Ctrl-C while processes start, and keep it from them: it reaches the whole group, and the parent decides."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Starting the first process starts the tracker too, which unblocks Ctrl-C when it is done.
    resource_tracker.ensure_running()
    noted = []
    handler = signal.signal(signal.SIGINT, lambda *_: noted.append(1))
    # A process that starts here has it blocked from its first moment; other threads of this one may still be hit.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if noted:
            signal.raise_signal(signal.SIGINT)


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Signals that ask a process to end: Ctrl-C, and what kill, Slurm and containers send."""

GRACE = 120
"""Seconds after a SIGTERM in which the reading processes of a training go on."""


@contextmanager
def stop_signals_blocked() -> Iterator[None]:
    """Keep signals to stop from this thread, and from processes that it starts until they unblock them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    if (get_start_method(allow_none=True) or get_all_start_methods()[0]) != "fork":
        # It starts with the first process, and unblocks Ctrl-C when it is done.
        resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def run_child(command: Sequence[str], cwd: Path) -> int:
    """Run a command and wait until it has ended, also after a signal to stop, at which it may save something.

    Ctrl-C reaches the command by itself; SIGTERM is handed on.

    Returns:
        Its exit code.

    Raises:
        KeyboardInterrupt: Ctrl-C came, and the command has ended.
    """
    interrupted: list[int] = []
    # Before it starts: none is to be lost in between.
    before = signal.signal(signal.SIGINT, lambda number, _: interrupted.append(number))
    child = subprocess.Popen(command, cwd=cwd)
    term = signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
    try:
        code = child.wait()
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, term)
    if interrupted:
        raise KeyboardInterrupt
    return code


def leave_stopping_to_parent(_: int = 0) -> None:
    """Let a reading process go on at signals that reach the whole group: the training still needs it for a moment."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_later)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _end_later(*_: object) -> None:
    """End at a second SIGTERM, or some time after the first."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "alarm"):
        signal.alarm(GRACE)


LAUNCHER = "RAMIT_LAUNCHER_PID"
"""Environment variable with the number of the process that starts several others of a training."""


def stop_with_launcher(look_every: float = 1.0) -> None:
    """Let this process stop as by SIGTERM when the process that started it has ended, even by SIGKILL.

    Args:
        look_every: Seconds between two looks.
    """
    # It may have ended already; a launcher that is not ours does not say which process it is.
    launcher = int(os.environ.pop(LAUNCHER, os.getppid()))

    def wait() -> None:
        while os.getppid() == launcher:
            time.sleep(look_every)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def end_with_parent() -> None:
    """Let a process that was started here end when its parent does, even by SIGKILL."""
    threading.Thread(target=_wait_for_end_of_parent, daemon=True).start()


def _wait_for_end_of_parent() -> None:
    """Wait for the parent's end, then exit: a worker itself waits for its next task for ever."""
    parent = parent_process()
    assert parent is not None  # noqa: S101  for the type checker
    connection.wait([parent.sentinel])
    os._exit(1)
