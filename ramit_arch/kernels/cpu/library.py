"""Finding the compiled kernels for this processor, and checking that they are those that this package expects."""

import ctypes
import importlib.util
import os
import platform
import sys
import warnings
from itertools import zip_longest
from typing import NamedTuple

import torch

from ramit_arch.kernels.cpu import abi

VARIANTS = {"AVX512": "_avx512", "AVX2": "_avx2"}
"""Capability of the processor, as torch names it -> extension module with the kernels for it."""

SWITCH = "RAMIT_KERNELS"
"""Environment variable; 0 does without the kernels."""


class Limits(NamedTuple):
    """Sizes that the kernels were compiled for, from abi.h."""

    padding: int
    window_size: int
    max_channels: int
    max_head_dim: int
    max_channel_qk: int


class Library(NamedTuple):
    """Compiled kernels, and their limits."""

    functions: ctypes.CDLL
    limits: Limits


def library() -> Library | None:
    """Compiled kernels; None if none were built for this processor, or the environment says RAMIT_KERNELS=0."""
    return _library


def status() -> str:
    """Say in one line which compiled kernels are in use, or why none are and what to do."""
    capability = torch.backends.cpu.get_cpu_capability()
    if _library is not None:
        return f"compiled kernels for {capability} in use"
    if not (sys.platform == "linux" and platform.machine() == "x86_64"):
        return f"no compiled kernels: they are for Linux on x86-64, this is {platform.system()} on {platform.machine()}"
    if os.environ.get(SWITCH) == "0":
        return f"no compiled kernels: {SWITCH}=0 in the environment"
    if capability not in VARIANTS:
        return f"no compiled kernels: PyTorch reports no AVX2 ({capability})"
    if _find(VARIANTS[capability]) is None:
        return (
            f"no compiled kernels for {capability}: not built when the package was installed. Install g++ 11 or later, "
            "then the package again: pip install --force-reinstall --no-deps ."
        )
    return f"no compiled kernels: {_find(VARIANTS[capability])} cannot be used, see the warning"


def load(variant: str) -> Library | None:
    """Load one of the `VARIANTS`; None if it was not built, or is refused."""
    path = _find(variant)
    return None if path is None else open_library(path)


def _find(variant: str) -> str | None:
    found = importlib.util.find_spec(f"{__package__}.{variant}")
    return None if found is None else found.origin


def open_library(path: str) -> Library | None:
    """Load a library; one that does not load, or differs in structures or ABI version, is refused with one warning."""
    try:
        functions = ctypes.CDLL(path)
    except OSError as error:  # built for another C++ library, or OpenMP's is missing
        _warn(f"{path} is not used: {error}")
        return None
    difference = _difference(functions)
    if difference:
        _warn(f"{path} is not used: its {difference} is not that of this package; build it again: pip install -e .")
        return None
    limits = abi.Limits.in_dll(functions, "ramit_limits")
    return Library(functions, Limits(*(getattr(limits, name) for name in Limits._fields)))


def _warn(message: str) -> None:
    # A module in place of a file: warnings would print a line of source code, too.
    warnings.warn_explicit(message, UserWarning, __name__, 1)


def _difference(functions: ctypes.CDLL) -> str:
    """First part of the library's description of itself that is not as expected; nothing if all is."""
    if not hasattr(functions, "ramit_abi"):
        return "ABI version"
    functions.ramit_abi.restype = ctypes.c_char_p
    found = functions.ramit_abi().decode().splitlines()
    for one, expected in zip_longest(found, abi.description(), fillvalue=""):
        if one != expected:
            name = (expected or one).split()[0]
            return "ABI version" if name == "version" else f"structure {name}"
    return ""


def _load() -> Library | None:
    variant = VARIANTS.get(torch.backends.cpu.get_cpu_capability())
    return None if variant is None or os.environ.get(SWITCH) == "0" else load(variant)


_library = _load()
