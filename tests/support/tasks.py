"""What tests have several processes do: a module of its own, which a process imports in no time."""

import os
import signal
import time

from ramit_model.system.errors import InputError


def square(number: int) -> int:
    """Some take longer than those behind them."""
    time.sleep(0.02 * (number % 3 == 0))
    return number * number


def fail_at_three(number: int) -> int:
    """A task with bad input."""
    if number == 3:
        raise InputError("a: is broken; mend it\nb: too")
    return number


def end_at_three(number: int) -> int:
    """A task whose process is killed."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number
