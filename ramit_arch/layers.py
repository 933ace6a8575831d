"""Layers that the networks share. Maps are channels-last, (B, H, W, C), unless a shape says otherwise."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def channels_last(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W, C)"""
    return x.permute(0, 2, 3, 1)


def channels_first(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W)"""
    return x.permute(0, 3, 1, 2)


def leaky_relu(x: Tensor) -> Tensor:
    """LeakyReLU of slope 0.01, the activation of every MobiVari and of the bottleneck."""
    return F.leaky_relu(x, 0.01)


class BlockOutput(NamedTuple):
    """Results of a D-RAMiT block, each (B, H, W, C).

    Attributes:
        x: Output.
        attentions: Spatial attention, then channel attention: the reciprocal helpers of the next block.
        mixed: MobiVari of both attentions; None unless the block is the last of its stage.
    """

    x: Tensor
    attentions: Tensor
    mixed: Tensor | None


class Normalisation(nn.Module):
    """Subtract the mean of each channel and divide by its standard deviation, and back. Adds nothing to a checkpoint.

    Args:
        mean: Mean of each channel, range 0..1.
        std: Standard deviation of each channel, range 0..1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in 0..1 -> normalised, same shape."""
        return (x - self.mean) / self.std

    def inverse(self, x: Tensor) -> Tensor:
        """(B, C, H, W) normalised -> in 0..1, same shape."""
        return x * self.std + self.mean


class Pointwise(nn.Conv2d):
    """1x1 convolution of a channels-last map, as the matrix product that it is: (..., C_in) -> (..., C_out)."""

    def __init__(self, dim: int, out_dim: int, *, groups: int = 1, bias: bool = True) -> None:
        super().__init__(dim, out_dim, 1, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.groups == 1:
            return F.linear(x, self.weight.flatten(1), self.bias)
        weight = self.weight.view(self.groups, -1, self.weight.shape[1])
        y = torch.einsum("...gi,goi->...go", x.unflatten(-1, (self.groups, -1)), weight).flatten(-2)
        return y if self.bias is None else y + self.bias


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel, eps 1e-5: (..., C) -> (..., C)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class FeedForward(nn.Module):
    """Two linear maps around an exact (erf) GELU: (..., C) -> (..., C)."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.hidden = Pointwise(dim, hidden_dim)
        self.out = Pointwise(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.gelu(self.hidden(x)))


# Between the resolutions of a network -------------------------------------------------------------------------------


def pad_to_multiple(x: Tensor, unit: int) -> Tensor:
    """Append black rows and columns up to multiples of `unit` pixels: (B, C_in, H, W), not yet normalised."""
    height, width = x.shape[-2:]
    # Multiplying whole units, not taking remainders, lets torch.export see that the sizes divide.
    bottom, right = (height + unit - 1) // unit * unit - height, (width + unit - 1) // unit * unit - width
    return F.pad(x, (0, right, 0, bottom))


def cells_to_channels(x: Tensor) -> Tensor:
    """Stack the pixels of each 2x2 cell, row by row: (B, H, W, C) -> (B, H/2, W/2, 4C)."""
    x = x.unflatten(2, (x.shape[2] // 2, 2)).unflatten(1, (x.shape[1] // 2, 2))  # (B, H/2, 2, W/2, 2, C)
    return x.transpose(2, 3).flatten(3)


def max_pool(x: Tensor) -> Tensor:
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
            s = max_pool(s)
        maps.append(pixel_shuffle(output + leaky_relu(s), 2**i))
    return torch.cat(maps, dim=-1)
