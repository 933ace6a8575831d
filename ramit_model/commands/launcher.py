"""Starts several processes of a training or test by torch's elastic launcher, which other machines may take part in."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from ramit_model.system.errors import InputError, one_line
from ramit_model.system.processes import LAUNCHER, available_cores


def launcher_arguments(arguments: Sequence[str], run: str, *, goes_on: bool) -> list[str]:
    """Check arguments of torch's launcher (`--nnodes`, `--rdzv-endpoint`, ...), and add what they leave open.

    Args:
        arguments: Arguments of `torchrun`.
        run: Name of the run, by which machines know that they belong together.
        goes_on: Whether processes that are started again go on where others were (`--auto_resume`, or a test).

    Returns:
        The arguments; without any, the run stays on this machine.

    Raises:
        InputError: One of them is unknown or misses its value, or something is missing beside them.
    """
    from torch.distributed.run import get_args_parser, parse_min_max_nnodes

    parser = get_args_parser()
    parser.exit_on_error = False

    def error(message: str) -> NoReturn:
        raise InputError(f"{message}; see basicsr train --help and torchrun --help")

    parser.error = error  # type: ignore[method-assign]  # argparse would print its usage and exit
    try:
        parsed, unknown = parser.parse_known_args([*arguments, "script"])
    except argparse.ArgumentError as exception:  # from Python 3.13 on, also for what would have called `error`
        error(str(exception))
    if unknown or any(not argument.startswith("-") for argument in arguments[:1]):
        raise InputError(f"unknown argument {(unknown or list(arguments))[0]}; see basicsr train --help")
    try:
        least, most = parse_min_max_nnodes(parsed.nnodes)
    except (ValueError, RuntimeError):
        least = most = 0
    if not 1 <= least <= most:
        error(f"--nnodes {parsed.nnodes}: write a number of machines, or LEAST:MOST")
    if (parsed.max_restarts or least != most) and not goes_on:
        again = f"--max-restarts {parsed.max_restarts}" if parsed.max_restarts else f"--nnodes {parsed.nnodes}"
        raise InputError(f"{again}: processes that are started again would start over; add --auto_resume")
    if parsed.standalone:
        return list(arguments)
    if not parsed.rdzv_endpoint and not _given("--master-addr", arguments):
        if most > 1:
            raise InputError(
                f"--nnodes {parsed.nnodes}: say where the machines meet, the same on each: --rdzv-endpoint HOST:PORT, "
                "where HOST is one of them"
            )
        return ["--standalone", *arguments]
    added = []
    if parsed.rdzv_endpoint and not _given("--rdzv-backend", arguments) and not _given("--node-rank", arguments):
        added.append("--rdzv-backend=c10d")
    if not _given("--rdzv-id", arguments):
        added.append(f"--rdzv-id={run}")
    return [*added, *arguments]


def _given(name: str, arguments: Sequence[str]) -> bool:
    """Whether an argument of torch's launcher is there, or its variable in the environment."""
    variable = f"PET_{name.removeprefix('--').replace('-', '_').upper()}"
    return variable in os.environ or name in {each.partition("=")[0].replace("_", "-") for each in arguments}


def run_processes(verb: str, nproc: str, launcher_arguments: Sequence[str], arguments: Sequence[str]) -> int:
    """Start `nproc` processes of `basicsr VERB` on this machine and wait for them.

    Args:
        verb: train or test.
        nproc: Number of processes, or cpu, gpu, auto as torchrun takes them.
        launcher_arguments: Further arguments of torchrun, see the function of this name.
        arguments: Arguments of `basicsr VERB`.

    Returns:
        Exit code: 0, 2 after an input error in a process, 128 plus the number of a signal that ended it, else 1.
    """
    import torch
    from torch.distributed import DistError, run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError

    # From Python 3.11 on, this keeps `-m` from searching the current folder, where a folder `basicsr` may lie.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    # Each process reports for itself; torch's report would repeat it with a stack of the launcher.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    if nproc.isdecimal() and not torch.cuda.is_available():
        # PyTorch's launcher would give each process one thread, however many cores there are.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // max(1, int(nproc)))))
    # PyTorch 2.14: a machine that joins later would wait for an address that the first one told the others before.
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    command = [
        f"--nproc-per-node={nproc}",
        *launcher_arguments,
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
    except (DistError, RendezvousError) as error:
        raise InputError(
            f"the machines do not find each other ({one_line(error)}): see that all have the same --nnodes and "
            "--rdzv-endpoint and reach that address, and start the same command on each again"
        ) from None
    except ValueError as error:
        raise InputError(f"--nproc {nproc}: {error}") from None
    finally:
        del os.environ[LAUNCHER]  # what else this process starts is not launched by it
    return 0
