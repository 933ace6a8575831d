"""Calls of the C++ kernels: what they support, their structures, and weights in their layout."""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ramit_arch.kernels.cpu import abi
from ramit_arch.kernels.cpu.library import Library, library

SUFFIXES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
"""Data type of a map -> end of the names of the kernels for it."""


def available(x: Tensor) -> Library | None:
    """Compiled kernels, if there are any, the tensor is on a CPU, and nothing is being exported."""
    return library() if x.device.type == "cpu" and not torch.compiler.is_exporting() else None


def is_supported(x: Tensor, *channels: int, side: int | None = None) -> bool:
    """Whether there are kernels for a map of this device, type and size.

    Args:
        x: Map, (B, H, W, C).
        channels: Channels of every map and hidden layer on the way.
        side: Side of a window, if there are windows.
    """
    kernels = available(x)
    if kernels is None or x.dtype not in SUFFIXES:
        return False
    size = kernels.limits.window_size
    return (
        side in (None, size)
        and not (x.shape[1] % size or x.shape[2] % size)
        and (max(channels) <= kernels.limits.max_channels)
    )


def compiled() -> Library:
    """Compiled kernels.

    Raises:
        RuntimeError: There are none for this processor.
    """
    kernels = library()
    if kernels is None:
        raise RuntimeError("there are no compiled kernels for this processor")
    return kernels


def call(name: str, *arguments: abi.Structure) -> None:
    """Run a kernel, which takes structures and the number of threads.

    Raises:
        RuntimeError: There are no kernels for this processor.
    """
    getattr(compiled().functions, name)(*map(ctypes.byref, arguments), torch.get_num_threads())


def pack(kind: type[abi.Structure], **fields: Any) -> abi.Structure:
    """Structure with all its fields: numbers, and contiguous tensors or None for pointers.

    The tensors live as long as the structure.

    Raises:
        ValueError: A field is missing or unknown, or a tensor is not contiguous.
    """
    names = [field[0] for field in kind._fields_]
    if fields.keys() != set(names):
        raise ValueError(f"{kind.__name__} has the fields {names}, not {list(fields)}")
    structure = kind(*(_value(fields[name]) for name in names))
    structure.tensors = {name: x for name, x in fields.items() if isinstance(x, Tensor)}
    return structure


def _value(x: Any) -> int | None:
    if not isinstance(x, Tensor):
        return x
    if not x.is_contiguous():
        raise ValueError("kernels take contiguous tensors")
    return x.data_ptr()


def contiguous_float32(x: Tensor) -> Tensor:
    """Contiguous float32 copy, as the kernels expect weights and gradients; `x` itself if it is one."""
    return x.float().contiguous()


def padded_size(channels: int) -> int:
    """Number of channels, rounded up to the next multiple of the padding of the kernels."""
    padding = compiled().limits.padding
    return -(-channels // padding) * padding


def padded(x: Tensor) -> Tensor:
    """Contiguous float32 copy with zeros up to the padded size of the last axis."""
    missing = padded_size(x.shape[-1]) - x.shape[-1]
    return contiguous_float32(F.pad(x, (0, missing)) if missing else x)


def panel(weight: Tensor) -> Tensor:
    """Weight matrix as the kernels expect it: (out, in) -> (in, out), padded."""
    return padded(weight.t())
