"""Runs BasicSR's pipelines in this process, which may be one of several."""

import multiprocessing
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from ramit_model.system.errors import InputError
from ramit_model.system.locks import held
from ramit_model.system.memory import keep_freed_memory
from ramit_model.system.processes import stop_with_launcher

if TYPE_CHECKING:
    from ramit_model.basicsr_changes import Run
    from ramit_model.training.interruption import StoppedError

Verb = Literal["train", "test"]

ENDING = 10.0
"""Seconds that a run may need to end and save, after its launcher was killed and the same command was given again."""

_PEER_GONE = re.compile(
    r"connection (closed|reset) by peer|broken pipe|remote process exited|timed out waiting|wait timeout after",
    re.IGNORECASE,
)
"""Part of the messages of Gloo and NCCL when another process has ended, or its machine has."""


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
                raise InputError(
                    f"another process of this run has ended, or does not answer; {_what_follows()}"
                ) from None
            raise
    basicsr_bridge.get_root_logger().info(terminal.describe_results(run.options))
    if run.problems and rank() == 0:
        raise InputError("\n".join([*run.problems, f"{len(run.problems)} not restored; all other pictures are"]))


def _what_follows() -> str:
    """End of the line about another process that has ended: PyTorch's launcher may start all of them again."""
    done, most = (int(os.environ.get(f"TORCHELASTIC_{name}", "0")) for name in ("RESTART_COUNT", "MAX_RESTARTS"))
    return "the launcher starts all of them again" if done < most else "its own message says why"


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
