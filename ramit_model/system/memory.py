"""Memory of this process, and errors that mean too little of it."""

import ctypes
import gc
import sys
from pathlib import Path

KILO = 1024
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt (malloc.h)."""
MESSAGES = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "insufficient memory",
    "bad_alloc",
    "bad allocation",
)
"""Parts of the messages of torch, OpenCV and C++."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error`, from torch, NumPy, OpenCV or Python, means that memory ran out."""
    # torch's exception by its name: this package imports nothing beyond the standard library.
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    text = str(error).lower()
    return any(message in text for message in MESSAGES)


def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed tensors for the next ones.

    By default it returns large blocks to the system at once and maps them again, page by page, for every layer; on a
    CPU that costs as much as the network itself.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # glibc
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def resident() -> int:
    """Resident memory of this process, bytes; 0 if unknown."""
    return _status("VmRSS:")


def resident_peak() -> int:
    """Peak of the resident memory of this process so far, bytes; 0 if unknown."""
    return _status("VmHWM:")


def forget_peak() -> bool:
    """Return freed memory to the system, and reset the peak.

    Returns:
        Whether the system supports it.
    """
    release_freed_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # not allowed, or another system than Linux
        return False
    return True


def release_freed_memory() -> None:
    """Collect garbage, and return freed memory to the system where the C library can."""
    gc.collect()
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):  # glibc
            library.malloc_trim(0)


def _status(name: str) -> int:
    if sys.platform != "linux":
        return 0
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * KILO
    return 0
