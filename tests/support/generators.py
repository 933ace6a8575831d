"""What tests have isolated processes yield: a module of its own, which a process imports in no time."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def numbers(count: int, *, pause: float = 0) -> Iterator[int]:
    """0, 1, 2, ..."""
    for number in range(count):
        yield number
        time.sleep(pause)


def process_and_arguments(*args: Any, **kwargs: Any) -> Iterator[Any]:
    """Where it runs, and with what."""
    yield os.getpid()
    yield args, kwargs


def wait_for(path: Path) -> Iterator[str]:
    """Two values; the second only when the file is there."""
    yield "first"
    while not path.exists():
        time.sleep(0.01)
    yield "second"


def fail(error: BaseException) -> Iterator[int]:
    """A value, then an error, raised from another one."""
    yield 0
    try:
        sys.exit(5)
    except SystemExit as cause:
        raise error from cause


def kill_itself() -> Iterator[int]:
    """A value, then what a system without memory does."""
    yield 0
    os.kill(os.getpid(), signal.SIGKILL)


def fail_with_a_function() -> Iterator[int]:
    """A value, then an error that cannot be pickled."""
    yield 0
    error = ValueError("a message")
    error.where = lambda: None  # type: ignore[attr-defined]
    raise error


def leave(code: int) -> Iterator[int]:
    """A value, then an end that nobody expects."""
    yield 0
    os._exit(code)


def sleep(seconds: float) -> Iterator[int]:
    """Its process, then nothing for a long time."""
    yield os.getpid()
    time.sleep(seconds)


def restore_or_die(task: Any) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """In place of `restore_images`: the third image is too large, whichever way it is restored."""
    for index in task.images:
        yield index, None
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield index, {"metrics": {"psnr": float(index), "ssim": 0.5}, "tiled": False}
