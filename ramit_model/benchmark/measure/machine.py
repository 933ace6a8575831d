"""Machine of a benchmark, and versions of the packages that matter."""

import contextlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ramit_model.system.processes import available_cores

PACKAGES = ("ramit-basicsr", "basicsr", "torch", "torchvision", "numpy", "opencv-python", "scipy")
OTHER_NAMES = {"opencv-python": ("opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")}
"""Package -> others that install the same modules."""

CPU_INFO = Path("/proc/cpuinfo")


def machine() -> dict[str, Any]:
    """Describe the machine.

    Returns:
        `system`; `cpu`, its model, with `cpu_capability`, the instructions that torch uses; `cores` that this process
        may use; `threads` that torch uses; `memory_gb`, None where unknown; `gpu`, the model of the current one, with
        `gpu_memory_gb` and `cuda`, the version that torch was built with (of HIP on AMD); all three None without a GPU.
    """
    return {
        "system": platform.platform(aliased=True),
        "cpu": _cpu_model(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "memory_gb": _memory_gb(),
        **_gpu(),
    }


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            # Not on every processor: ARM's have no names here.
            if key.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def _memory_gb() -> float | None:
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
    return round(size / 1e9, 1) if size > 0 else None


def _gpu() -> dict[str, Any]:
    if not torch.cuda.is_available():
        return {"gpu": None, "gpu_memory_gb": None, "cuda": None}
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "gpu": properties.name,
        "gpu_memory_gb": round(properties.total_memory / 1e9, 1),
        "cuda": torch.version.cuda or torch.version.hip,
    }


def versions() -> dict[str, str]:
    """Python's version, then those of `PACKAGES` that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        for name in (package, *OTHER_NAMES.get(package, ())):
            with contextlib.suppress(PackageNotFoundError):
                found.setdefault(package, version(name))
    return found
