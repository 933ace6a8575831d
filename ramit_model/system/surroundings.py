"""Surroundings of a run, such as a notebook, a container or a cluster: made to fit where possible, else one line."""

import getpass
import os
import shutil
import tempfile
from pathlib import Path

from ramit_model.system.errors import InputError

SHARED = Path("/dev/shm")  # noqa: S108  where Linux keeps shared memory
MOST_FILES = 1 << 16
"""Open files that are asked for, if the system allows as many."""


def prepare_surroundings() -> None:
    """Make ready what libraries take for granted: open files, a folder for temporary files, a name of the user.

    Raises:
        InputError: There is no folder for temporary files.
    """
    _raise_file_limit()
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        raise InputError(
            "no folder for temporary files can be written; make room in /tmp, or set TMPDIR to another folder"
        ) from None
    try:
        getpass.getuser()
    except (KeyError, OSError):  # containers run as any number; PyTorch's compiler asks for the name
        os.environ["LOGNAME"] = f"user{os.getuid()}"


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have: reading processes hand over batches by them."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def check_shared_memory(workers: int, batch: int, where: str) -> None:
    """Check that the batches that reading processes hold ready fit into the shared memory.

    Args:
        workers: Reading processes on this machine.
        batch: Bytes of a batch.
        where: File and block of the training set.

    Raises:
        InputError: They do not; containers have 64 MB by default.
    """
    if not workers or not SHARED.is_dir():
        return
    need = (2 * workers + 1) * batch  # two each are ready, and one is in use
    free = shutil.disk_usage(SHARED).free
    if need > free:
        raise InputError(
            f"{where}.num_worker_per_gpu: {workers} reading processes need {need / 1e6:.1f} MB of shared memory, and "
            f"{SHARED} has {free / 1e6:.1f} MB free; give the container more (docker run --shm-size=1g), or write 0"
        )
