"""Between the resolutions of a network: whole units, 2x2 cells to channels, maps of all stages to full size."""

from collections.abc import Sequence

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
    """Stack the pixels of each 2x2 cell, row by row: (B, C, H, W) -> (B, 4C, H/2, W/2)."""
    cells = [x[..., 0::2, 0::2], x[..., 0::2, 1::2], x[..., 1::2, 0::2], x[..., 1::2, 1::2]]
    return torch.cat(cells, dim=1)


def to_full_size(s: Tensor, outputs: Sequence[Tensor]) -> Tensor:
    """Bring the outputs of the stages, each with the pooled shallow features added, to full size by pixel shuffle.

    Args:
        s: Shallow features, (B, C, H, W).
        outputs: Output i: (B, C, H / 2^i, W / 2^i), from i = 0 up.

    Returns:
        (B, C + C/4 + C/16 + ..., H, W)
    """
    maps = []
    for i, output in enumerate(outputs):
        if i:
            s = F.max_pool2d(s, 2)
        maps.append(F.pixel_shuffle(output + leaky_relu(s), 2**i))
    return torch.cat(maps, dim=1)
