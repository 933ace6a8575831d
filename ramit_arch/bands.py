"""Less memory for large maps: layers that look no farther than a few pixels are computed in bands of rows."""

from collections.abc import Callable

import torch
from torch import Tensor

LARGE = 2**18
"""Maps of as many pixels or more are computed in bands, and overwritten where they are not needed any longer."""

BAND_PIXELS = 2**16
"""Pixels of a band, context not counted."""

PATCH = 8
"""Side of the patches that the kernels compute, in pixels: maps have whole ones."""


def saves_memory(x: Tensor) -> bool:
    """Whether a network saves memory with a map (B, H, W, C): it is large, and there are no gradients.

    Compilers and exports see the network as it is defined.
    """
    return (
        not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and x.device.type != "meta"
        # Last: an export for any size must not ask.
        and x.shape[0] * x.shape[1] * x.shape[2] >= LARGE
    )


def in_bands(layer: Callable[..., Tensor], *maps: Tensor, factor: int = 1, channels_first: bool = False) -> Tensor:
    """Apply a layer band by band if that saves memory, else at once; the result is the same.

    Args:
        layer: Maps -> result, each pixel of which depends on rows of the first map that are at most `PATCH * factor`
            rows away.
        maps: Each (B, H / f, W / f, C) with its own f of 1, 2 or 4; f = 1 for the first.
        factor: Height of the first map over that of the smallest one with kernels, result included.
        channels_first: Whether the result is (B, C, H, W), not (B, H, W, C).

    Returns:
        `layer(*maps)`
    """
    if not saves_memory(maps[0]):
        return layer(*maps)
    batch, height, width = maps[0].shape[:3]
    axis = 2 if channels_first else 1
    context = PATCH * factor
    rows = max(BAND_PIXELS // (batch * width * context), 1) * context
    result = torch.empty(0)
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        first, last = max(start - context, 0), min(stop + context, height)
        # Multiplied first: rows of a smaller map are fractions of those of the first one.
        bands = (x[:, first * x.shape[1] // height : last * x.shape[1] // height] for x in maps)
        y = layer(*bands)
        size = y.shape[axis]
        begin, end = (start - first) * size // (last - first), (stop - first) * size // (last - first)
        if start == 0:
            shape = list(y.shape)
            shape[axis] = height * size // (last - first)
            result = y.new_empty(shape)
        target = start * result.shape[axis] // height
        result.narrow(axis, target, end - begin).copy_(y.narrow(axis, begin, end - begin))
    return result
