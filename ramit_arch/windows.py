"""Cyclic shift and windows of channels-last maps, as in Swin."""

import torch
from torch import Tensor


def cyclic_shift(x: Tensor, shift: int) -> Tensor:
    """Shift (B, H, W, C) down and to the right by `shift` pixels; what leaves at one border enters at the other."""
    return x.roll((shift, shift), (1, 2)) if shift else x


def window_partition(x: Tensor, window_size: int) -> Tensor:
    """(B, H, W, C) -> (B, H/M, W/M, M^2, C); H and W are multiples of the window side M."""
    m = window_size
    x = x.unflatten(2, (x.shape[2] // m, m)).unflatten(1, (x.shape[1] // m, m))  # (B, H/M, M, W/M, M, C)
    return _copy(x.transpose(2, 3)).flatten(3, 4)


def window_reverse(windows: Tensor, window_size: int) -> Tensor:
    """(B, H/M, W/M, M^2, C) -> (B, H, W, C), the inverse of `window_partition`."""
    m = window_size
    x = _copy(windows.unflatten(3, (m, m)).transpose(2, 3))  # (B, H/M, M, W/M, M, C)
    return x.flatten(3, 4).flatten(1, 2)


def _copy(x: Tensor) -> Tensor:
    """Contiguous copy, even if `x` is contiguous: torch.export may not ask, for the answer depends on the size."""
    return x.clone(memory_format=torch.contiguous_format)
