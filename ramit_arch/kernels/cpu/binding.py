"""How the C++ kernels are called: structures, and weights in the order that they read."""

import ctypes
from collections.abc import Sequence
from typing import Any

from ramit_arch.kernels.cpu.library import library

import torch
from torch import Tensor
from torch.nn import functional as F

LANES, SIDE = 16, 8
"""Floats of a vector; side of a window and of a patch, in pixels. As in vectors.h."""

MOST_HEAD_DIM = 64
"""Channels of an attention head that the kernels have working memory for."""

MOST = 448
"""Channels of any map and of any hidden layer that the kernels have working memory for."""

SUFFIXES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
"""Type of a map -> end of the names of the kernels for it."""


def fits(x: Tensor, *channels: int, side: int = SIDE) -> bool:
    """Whether there are kernels for a map: on a CPU, not exported, sizes that they know.

    Args:
        x: (B, H, W, C)
        channels: Of every map and hidden layer on the way.
        side: Of a window.
    """
    return (
        x.device.type == "cpu"
        and x.dtype in SUFFIXES
        and not torch.compiler.is_exporting()
        and side == SIDE
        and not (x.shape[1] % SIDE or x.shape[2] % SIDE)
        and max(channels) <= MOST
        and library() is not None
    )


def call(name: str, *arguments: Any) -> None:
    """Run a kernel; tensors and structures are passed by their address.

    Raises:
        RuntimeError: There are no kernels for this processor.
    """
    kernels = library()
    if kernels is None:
        raise RuntimeError("there are no compiled kernels for this processor")
    getattr(kernels, name)(*map(_argument, arguments))


def fields(integers: str, pointers: str) -> list[tuple[str, Any]]:
    """Of a structure: names, apart by spaces, of its numbers and of its pointers."""
    return [(name, ctypes.c_int) for name in integers.split()] + [(name, ctypes.c_void_p) for name in pointers.split()]


def address(x: Tensor | None) -> int | None:
    """Where a tensor lies in memory."""
    return None if x is None else x.data_ptr()


def ready(x: Tensor | None) -> Tensor | None:
    """As the kernels take a weight or a gradient: float32, without gaps."""
    return None if x is None else x.float().contiguous()


def rounded_up(channels: int) -> int:
    """To the next multiple of LANES."""
    return -(-channels // LANES) * LANES


def padded(x: Tensor) -> Tensor:
    """Zeros to the next multiple of LANES, on the last axis."""
    missing = -x.shape[-1] % LANES
    return F.pad(x, (0, missing)) if missing else x


def panel(weight: Tensor) -> Tensor:
    """(out, in) -> (in, out), padded."""
    return padded(weight.float().t())


def structure(
    kind: type[ctypes.Structure],
    integers: Sequence[int],
    maps: Sequence[Tensor | None],
    weights: Sequence[Tensor | None],
) -> tuple[ctypes.Structure, list[Tensor | None]]:
    """What a kernel is told, and the tensors that must live as long: maps as they are, weights made `ready`."""
    tensors = [*maps, *map(ready, weights)]
    return kind(*integers, *map(address, tensors)), tensors


def _argument(x: Any) -> Any:
    if isinstance(x, Tensor):
        return ctypes.c_void_p(x.data_ptr())
    return ctypes.byref(x) if isinstance(x, ctypes.Structure) else x
