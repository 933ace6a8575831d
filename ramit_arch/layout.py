"""Views of a map with its channels first, as convolutions take it, or last, as it lies in memory."""

from torch import Tensor


def channels_last(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W, C)"""
    return x.permute(0, 2, 3, 1)


def channels_first(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W)"""
    return x.permute(0, 3, 1, 2)
