"""Symmetric padding to a size unit, as the published evaluation does it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def size_unit(net: nn.Module, network_g: dict[str, Any]) -> int:
    """Multiple, in pixels, that height and width of an input must have for a network with these options."""
    # BasicSR's SwinIR needs whole windows, and has no attribute that says so.
    return int(getattr(net, "size_unit", network_g.get("window_size", 1)))


def run_padded(net: Callable[[Tensor], Tensor], lq: Tensor, unit: int, scale: int) -> Tensor:
    """Restore images of any size: pad to multiples of `unit` pixels, run the network, crop.

    Args:
        net: (B, C, H, W) -> (B, C, H * scale, W * scale).
        lq: (B, C, H, W).
        unit: Result of `size_unit`.
        scale: Output size over input size.

    Returns:
        (B, C, H * scale, W * scale)
    """
    height, width = lq.shape[-2:]
    return net(pad_symmetric(lq, unit))[..., : height * scale, : width * scale]


def pad_symmetric(x: Tensor, unit: int) -> Tensor:
    """Reflect at the right and the bottom, border pixel repeated (c b a | a b c), up to the next multiples of `unit`.

    Args:
        x: (..., H, W), H and W from 1 up; an image smaller than its padding is reflected repeatedly.
        unit: Multiple for height and width, in pixels.

    Returns:
        (..., ceil(H / unit) * unit, ceil(W / unit) * unit)
    """
    height, width = x.shape[-2:]
    return pad_to(x, height + -height % unit, width + -width % unit)


def pad_to(x: Tensor, height: int, width: int) -> Tensor:
    """Reflect as `pad_symmetric` does, up to a size.

    Args:
        x: (..., H, W), H and W from 1 up.
        height: At least H.
        width: At least W.

    Returns:
        (..., height, width)
    """
    for axis, padded in ((-2, height), (-1, width)):
        size = x.shape[axis]
        if padded > size:
            x = x.index_select(axis, mirror_index(size, padded).to(x.device))
    return x


def mirror_index(size: int, padded: int) -> Tensor:
    """Position in an axis of `size` pixels for each position of the axis padded to `padded`, int64 (padded).

    >>> mirror_index(3, 8).tolist()
    [0, 1, 2, 2, 1, 0, 0, 1]
    """
    # As a tensor: the ONNX exporter cannot take remainders of a size that is not known yet.
    last = 2 * torch.arange(size)[-1:] + 1
    index = torch.arange(padded) % (last + 1)
    return torch.minimum(index, last - index)
