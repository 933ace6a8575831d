"""Between the resolutions of a network: whole units, 2x2 cells to channels, maps of all stages to full size."""

from collections.abc import Sequence

from ramit_arch.layout import channels_first, channels_last
from ramit_arch.mobivari import leaky_relu

import torch
from torch import Tensor
from torch.nn import functional as F


def pad_to_units(x: Tensor, unit: int) -> Tensor:
    """Append black rows and columns up to multiples of `unit` pixels: (B, C_in, H, W), not yet normalised."""
    height, width = x.shape[-2:]
    # Multiplying whole units, not taking remainders, lets torch.export see that the sizes divide.
    bottom, right = (height + unit - 1) // unit * unit - height, (width + unit - 1) // unit * unit - width
    return F.pad(x, (0, right, 0, bottom))


def cells_to_channels(x: Tensor) -> Tensor:
    """Stack the pixels of each 2x2 cell, row by row: (B, H, W, C) -> (B, H/2, W/2, 4C)."""
    x = x.unflatten(2, (x.shape[2] // 2, 2)).unflatten(1, (x.shape[1] // 2, 2))  # (B, H/2, 2, W/2, 2, C)
    return x.transpose(2, 3).flatten(3)


def halve(x: Tensor) -> Tensor:
    """Max-pooling of 2x2 cells: (B, H, W, C) -> (B, H/2, W/2, C)."""
    return channels_last(F.max_pool2d(channels_first(x), 2))


def pixel_shuffle(x: Tensor, factor: int) -> Tensor:
    """(B, H, W, C) -> (B, H * factor, W * factor, C / factor^2)"""
    return channels_last(F.pixel_shuffle(channels_first(x), factor))


def to_full_size(s: Tensor, outputs: Sequence[Tensor]) -> Tensor:
    """Bring the outputs of the stages, each with the pooled shallow features added, to full size by pixel shuffle.

    Args:
        s: Shallow features, (B, H, W, C).
        outputs: Output i: (B, H / 2^i, W / 2^i, C), from i = 0 up.

    Returns:
        (B, H, W, C + C/4 + C/16 + ...)
    """
    maps = []
    for i, output in enumerate(outputs):
        if i:
            s = halve(s)
        maps.append(pixel_shuffle(output + leaky_relu(s), 2**i))
    return torch.cat(maps, dim=-1)
