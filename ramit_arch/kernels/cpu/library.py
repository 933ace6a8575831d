"""Finds the compiled kernels for this processor."""

import ctypes
import importlib.util
import os
import warnings
from pathlib import Path

import torch

VARIANTS = {"AVX512": "_avx512", "AVX2": "_avx2"}
"""What torch says of the processor -> extension module with the kernels for it."""

SWITCH = "RAMIT_KERNELS"
"""Environment variable; 0 does without the kernels."""


def _load() -> ctypes.CDLL | None:
    variant = VARIANTS.get(torch.backends.cpu.get_cpu_capability())
    if variant is None or os.environ.get(SWITCH) == "0":
        return None
    found = importlib.util.find_spec(f"{__package__}.{variant}")
    if found is None or found.origin is None:
        return None
    if _is_stale(Path(found.origin)):
        warnings.warn(
            f"{found.origin} is older than its sources, and not used; build it again: pip install -e .", stacklevel=2
        )
        return None
    return ctypes.CDLL(found.origin)


def _is_stale(build: Path) -> bool:
    """Whether the sources, which lie beside the build in a checkout, have changed since: it may expect other data."""
    sources = [path for pattern in ("*.cpp", "*.h") for path in build.parent.glob(pattern)]
    return any(source.stat().st_mtime > build.stat().st_mtime for source in sources)


_library = _load()


def library() -> ctypes.CDLL | None:
    """The compiled kernels; None where none were built for this processor, or the environment says RAMIT_KERNELS=0."""
    return _library
