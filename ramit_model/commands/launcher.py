"""Starts several processes of a training or test by torch's elastic launcher, which other machines may take part in."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from ramit_model.system.errors import InputError
from ramit_model.system.processes import LAUNCHER, available_cores


def check_launcher_arguments(arguments: Sequence[str]) -> None:
    """Make sure that torch's launcher knows `arguments` (`--nnodes`, `--rdzv-endpoint`, ...).

    Raises:
        InputError: One of them is unknown or misses its value.
    """
    from torch.distributed.run import get_args_parser

    parser = get_args_parser()
    parser.exit_on_error = False

    def error(message: str) -> NoReturn:
        raise InputError(f"{message}; see basicsr train --help and torchrun --help")

    parser.error = error  # type: ignore[method-assign]  # argparse would print its usage and exit
    try:
        _, unknown = parser.parse_known_args([*arguments, "script"])
    except argparse.ArgumentError as exception:  # from Python 3.13 on, also for what would have called `error`
        error(str(exception))
    if unknown or any(not argument.startswith("-") for argument in arguments[:1]):
        raise InputError(f"unknown argument {(unknown or list(arguments))[0]}; see basicsr train --help")


def run_processes(verb: str, nproc: str, launcher_arguments: Sequence[str], arguments: Sequence[str]) -> int:
    """Start `nproc` processes of `basicsr VERB` on this machine and wait for them.

    Args:
        verb: train or test.
        nproc: Number of processes, or cpu, gpu, auto as torchrun takes them.
        launcher_arguments: Further arguments of torchrun; without any, the run stays on this machine.
        arguments: Arguments of `basicsr VERB`.

    Returns:
        Exit code: 0, 2 after an input error in a process, 128 plus the number of a signal that ended it, else 1.
    """
    import torch
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # From Python 3.11 on, this keeps `-m` from searching the current folder, where a folder `basicsr` may lie.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    # Each process reports for itself; torch's report would repeat it with a stack of the launcher.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    where = launcher_arguments or ["--standalone"]
    if nproc.isdecimal() and not torch.cuda.is_available():
        # PyTorch's launcher would give each process one thread, however many cores there are.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // max(1, int(nproc)))))
    command = [
        f"--nproc-per-node={nproc}",
        *where,
        "--no-python",
        sys.executable,
        "-m",
        "ramit_model",
        verb,
        *arguments,
    ]
    os.environ[LAUNCHER] = str(os.getpid())
    try:
        run.main(command)
    except ChildFailedError as error:
        codes = {failure.exitcode for failure in error.failures.values()}
        stopped = [code for code in codes if code > 128]
        return 2 if 2 in codes else min(stopped, default=1)
    except SignalException as error:
        return 128 + error.sigval
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except ValueError as error:
        raise InputError(f"--nproc {nproc}: {error}") from None
    finally:
        del os.environ[LAUNCHER]  # what else this process starts is not launched by it
    return 0
