"""Environment variables that libraries read when they are loaded."""

import os

DEFAULTS = {
    # An unreadable image gets one line of ours, here and in DataLoader workers; OpenCV's remarks would bury it.
    "OPENCV_LOG_LEVEL": "SILENT",
    # OpenMP's threads sleep while they wait for each other. Spinning, they take the cores from whatever else runs, and
    # beside it a training becomes many times slower (tests/measure_contention.py).
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""What the `basicsr` command sets, unless the user has."""

INSTEAD = {"OMP_WAIT_POLICY": ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")}
"""Variables that say the same thing in another way: where the user has set one, the default is left out."""


def set_defaults() -> None:
    """Set `DEFAULTS` where the user has set nothing; before torch or OpenCV is imported."""
    for name, value in DEFAULTS.items():
        if not any(other in os.environ for other in INSTEAD.get(name, ())):
            os.environ.setdefault(name, value)
