"""Environment variables that libraries read when they are loaded, and the streams of a terminal."""

import io
import os
import sys

DEFAULTS = {
    # An unreadable image gets one line of ours, here and in DataLoader workers; OpenCV's remarks would bury it.
    "OPENCV_LOG_LEVEL": "SILENT",
    # A machine that is lost gets one line of ours; PyTorch would add a stack of C++ for each connection to it.
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    # OpenMP's threads sleep while they wait for each other. Spinning, they take the cores from whatever else runs, and
    # beside it a training becomes several times slower (tests/measure_contention.py).
    "OMP_WAIT_POLICY": "PASSIVE",
    # GCC's OpenMP, which PyTorch uses on Linux, spins for a moment first: most waits are shorter than falling asleep.
    "GOMP_SPINCOUNT": "1000",
}
"""Variables that the `basicsr` command sets, unless the user has."""

FORCED = {
    # Notebooks name their own, which are not there in a command; ours draws into files.
    "MPLBACKEND": "Agg",
}
"""Variables that the `basicsr` command sets whatever they are."""

WAITING = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}
"""Variables that say how threads wait: where the user has set one, no other is set."""


def set_defaults() -> None:
    """Set `FORCED`, and `DEFAULTS` where the user has set nothing; before torch or OpenCV is imported."""
    set_by_user = WAITING & os.environ.keys()
    for name, value in DEFAULTS.items():
        if not (name in WAITING and set_by_user):
            os.environ.setdefault(name, value)
    os.environ.update(FORCED)


def write_any_text() -> None:
    """Let stdout and stderr escape what their encoding lacks, instead of ending the command at a name in Japanese."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
