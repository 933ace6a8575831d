"""Memory that this process may still take: what the system has, and what its control group (container) leaves it."""

import ctypes
import os
import sys
from pathlib import Path

from ramit_model.system.memory import KILO, resident

FALLBACK = 2 * KILO**3
"""Assumed where nothing can be found out, bytes."""

ROOT = Path("/")


def memory_at_hand(root: Path = ROOT) -> int:
    """Bytes of host memory that this process may take without swapping, or being killed.

    Memory that the process has freed and the C library keeps counts, for new tensors take it first.

    Args:
        root: Root of the file system that /proc and /sys are read from.
    """
    if sys.platform == "win32":
        return _windows()
    limits = [limit for limit in (_available(root), *control_group_limits(root)) if limit is not None]
    if not limits:
        # No /proc, as on macOS: half of what is built in.
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if hasattr(os, "sysconf") else FALLBACK
    return max(min(limits), 0) + _kept()


def control_group_limits(root: Path = ROOT) -> list[int]:
    """Bytes that each control group around this process has left, versions 1 and 2; groups without a limit say nothing.

    Pages of files count as left: the kernel drops them first.

    Args:
        root: See `memory_at_hand`.
    """
    left = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = mount / path.lstrip("/")
        # Inside a container the path may be that of the host; its own limits then are at the top.
        for folder in (group, *(parent for parent in group.parents if parent == mount or mount in parent.parents)):
            left += _group(folder, *names)
    return left


def _group(folder: Path, limit: str, usage: str, files: str) -> list[int]:
    allowed, used = _number(folder / limit), _number(folder / usage)
    if allowed is None or used is None or allowed >= 2**60:  # version 1 states a huge number for no limit
        return []
    statistics = dict(line.split(" ", 1) for line in _lines(folder / "memory.stat") if " " in line)
    return [allowed - used + int(statistics.get(files, 0))]


def _available(root: Path) -> int | None:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * KILO
    return None


def _number(path: Path) -> int | None:
    lines = _lines(path)
    return int(lines[0]) if lines and lines[0].isdigit() else None  # `max`: no limit


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


class _Mallinfo2(ctypes.Structure):
    """glibc's struct mallinfo2."""

    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]


def _kept() -> int:
    """Bytes that were freed and the C library keeps."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):  # glibc from 2.33
        return 0
    library.mallinfo2.restype = _Mallinfo2
    # What was returned to the system in the meantime is not resident any longer.
    return min(int(library.mallinfo2().fordblks), resident())


def _windows() -> int:
    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong)
            for name in ["total", "free", "total_page", "free_page", "total_virtual", "free_virtual", "extended"]
        ]

    status = Status(length=ctypes.sizeof(Status))
    kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]
    return int(status.free) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else FALLBACK
