"""Symmetric padding to a size unit, as the published evaluation does it."""

import torch
from torch import Tensor


def pad_symmetric(x: Tensor, unit: int) -> Tensor:
    """Reflect at the right and the bottom, border pixel repeated (c b a | a b c), up to the next multiples of `unit`.

    Args:
        x: (..., H, W), H and W from 1 up; an image smaller than its padding is reflected again and again.
        unit: Multiple that height and width shall have, in pixels.

    Returns:
        (..., ceil(H / unit) * unit, ceil(W / unit) * unit)
    """
    for axis in (-2, -1):
        size = x.shape[axis]
        padding = -size % unit
        if padding:
            index = torch.arange(size + padding, device=x.device) % (2 * size)
            x = x.index_select(axis, torch.minimum(index, 2 * size - 1 - index))
    return x
