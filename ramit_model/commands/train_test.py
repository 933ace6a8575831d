"""Runs BasicSR's pipelines: in this process, or in several that torch's elastic launcher starts."""

import argparse
import logging
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from filelock import FileLock, Timeout

from ramit_model.system.errors import InputError
from ramit_model.system.locks import held
from ramit_model.system.memory import keep_freed_memory
from ramit_model.system.processes import LAUNCHER, available_cores, stop_with_launcher

if TYPE_CHECKING:
    from ramit_model.basicsr_changes import Run
    from ramit_model.training.interruption import StoppedError

Verb = Literal["train", "test"]

ENDING = 10.0
"""Seconds that a run may need to end and save, after its launcher was killed and the same command was given again."""

_PEER_GONE = re.compile(r"connection (closed|reset) by peer|broken pipe|remote process exited", re.IGNORECASE)
"""Part of the messages of Gloo and NCCL when another process has ended."""


def run_pipeline(verb: Verb, run: "Run") -> None:
    """Run BasicSR's own `train_pipeline` or `test_pipeline`, with experiments under the current folder.

    The loop stays BasicSR's; what feeds it, where it begins and what it says are ours.
    """
    from ramit_model import basicsr_bridge
    from ramit_model.basicsr_changes import hand_over
    from ramit_model.training import session, terminal

    basicsr_bridge.register()
    keep_freed_memory()
    if run.launcher == "none":
        choose_one_gpu(run.options)
    else:
        let_workers_share_imports()
        stop_with_launcher()
    hand_over(run)
    basicsr_bridge.change("pipeline")
    pipeline = basicsr_bridge.train_pipeline if verb == "train" else basicsr_bridge.test_pipeline
    with lock(verb, run.options["name"]), session.running(), terminal.progress_line_removed():
        try:
            pipeline(str(Path.cwd()))
        except RuntimeError as error:
            if run.launcher != "none" and _PEER_GONE.search(str(error)):
                raise InputError("another process of this run has ended; its own message says why") from None
            raise
    basicsr_bridge.get_root_logger().info(terminal.describe_results(run.options))
    if run.problems and rank() == 0:
        raise InputError("\n".join([*run.problems, f"{len(run.problems)} not restored; all other pictures are"]))


@contextmanager
def lock(verb: Verb, name: str) -> Iterator[None]:
    """Keep a second run of this name out of the folder of this one, whose files it would mix with its own.

    Raises:
        InputError: Another run has it.
    """
    if rank() != 0:
        yield
        return
    home = Path("experiments" if verb == "train" else "results")
    home.mkdir(parents=True, exist_ok=True)
    try:
        # Beside the folder of the run, which BasicSR renames when the run begins again.
        with held(FileLock(home / f".{name}.lock", timeout=ENDING)):
            yield
    except Timeout:
        raise InputError(
            f"{home / name}: another basicsr {verb} is writing there; wait, or choose another name"
        ) from None


def describe_stop(error: "StoppedError", name: str) -> str:
    """Line for a training that a signal has stopped: what is saved, and how to go on."""
    from ramit_model.training.checkpoint import training_states

    states = training_states(name)
    if not states:
        return f"{error} before the first iteration; nothing is saved"
    saved = f"saved at iteration {error.iteration:,}" if error.iteration else f"nothing new after {states[0].name}"
    return f"{error}; {saved} ({states[0].parent}): go on with the same command and --auto_resume"


def let_workers_share_imports() -> None:
    """Let the DataLoader workers of one of several processes be forked from a process that imports everything once.

    BasicSR spawns them, so that each would import torch and BasicSR by itself. Forking them from a process that has
    GPUs and threads is not safe.
    """
    if (
        multiprocessing.get_start_method(allow_none=True) is None
        and "forkserver" in multiprocessing.get_all_start_methods()
    ):
        multiprocessing.set_start_method("forkserver")
        multiprocessing.set_forkserver_preload(
            [f"ramit_model.data.{name}" for name in ("clean", "paired", "photos", "single")]
        )


def choose_one_gpu(options: dict[str, Any]) -> None:
    """Replace `num_gpu: auto` by 1 for a single process on a machine with several GPUs.

    BasicSR would wrap the network in DataParallel and multiply the batch by the number of GPUs.
    """
    import torch

    present = torch.cuda.device_count()
    if options["num_gpu"] == "auto" and present > 1:
        options["num_gpu"] = 1
        print(f"{present} GPUs found, one is used; --nproc {present} uses all", flush=True)


def started_by_launcher() -> bool:
    """Whether torchrun (or our own `--nproc`) started this process."""
    return {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()


def rank() -> int:
    """Rank of this process among those that were started together; 0 for a single one."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")))


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


def run_processes(verb: Verb, nproc: str, launcher_arguments: Sequence[str], arguments: Sequence[str]) -> int:
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
