"""Measurements in separate processes, whose leftovers and crashes affect nothing else."""

import logging
import pickle
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

import ramit_model
from ramit_model.system.memory import keep_freed_memory
from ramit_model.system.processes import ctrl_c_put_off, end_with_parent

P = ParamSpec("P")
T = TypeVar("T")


class KilledError(RuntimeError):
    """The process was killed before it was done: most likely, the system was out of memory."""


def be_quiet() -> None:
    """Register everything, and silence BasicSR and the networks."""
    ramit_model.register()
    from ramit_model.basicsr_bridge import get_root_logger

    get_root_logger().setLevel(logging.ERROR)  # its log_level does nothing without a log_file
    # BasicSR's SwinIR calls it in an old way.
    warnings.filterwarnings("ignore", message="torch.meshgrid")


def prepare_process() -> None:
    """Set up a measuring process: quiet, and keeping freed memory as a training or a test does."""
    be_quiet()
    keep_freed_memory()


def isolated(function: Callable[P, Iterator[T]], *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
    """Run a generator function in a fresh process.

    Args:
        function: Generator function of an importable module.
        args: Picklable arguments; the yielded values must be picklable, too.
        kwargs: Picklable keyword arguments.

    Yields:
        Values of the function, as they come.

    Raises:
        KilledError: The process was killed.
        RuntimeError: The process ended otherwise before the function did.
        Exception: The exception that the function raised.
    """
    # Spawned: CUDA does not survive a fork, and memory is measured from a fresh process.
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, function, args, kwargs), daemon=True)
    with ctrl_c_put_off():
        process.start()
    sender.close()
    try:
        while True:
            try:
                kind, value = receiver.recv()
            except EOFError:
                process.join()
                if process.exitcode == -signal.SIGKILL:
                    raise KilledError("the process was killed") from None
                raise RuntimeError(f"a measuring process ended with code {process.exitcode}") from None
            if kind == "done":
                return
            if kind == "failed":
                raise value
            yield value
    finally:
        process.terminate()
        process.join()
        receiver.close()


def _run(sender: Connection, function: Callable[..., Iterator[Any]], args: Any, kwargs: Any) -> None:
    end_with_parent()
    try:
        for value in function(*args, **kwargs):
            sender.send(("value", value))
        sender.send(("done", None))
    except BrokenPipeError:  # the parent no longer listens
        sys.exit(1)
    except Exception as error:
        # The parent ends with one line or a traceback; its own would not show where this came from.
        error.__traceback__ = None
        error.__cause__ = error.__context__ = None
        try:
            sender.send(("failed", error))
        except (TypeError, AttributeError, pickle.PicklingError):
            sender.send(("failed", RuntimeError(f"{type(error).__name__}: {error}")))
