"""Reciprocal self-attention: spatial heads on windows, channel heads on the whole image."""

import math

from ramit_arch.kernels import window_attention
from ramit_arch.kernels.reference import channel_mixing, channel_products
from ramit_arch.pointwise import Pointwise
from ramit_arch.windows import Windows

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAX_LOGIT_SCALE = math.log(100.0)


def relative_position_index(window_size: int) -> Tensor:
    """Row of the bias table for each pair of pixels of a window, as in Swin.

    Args:
        window_size: Window side M.

    Returns:
        int64 (M^2, M^2), values in [0, (2M-1)^2).
    """
    axis = torch.arange(window_size)
    rows, columns = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    row_offset = rows[:, None] - rows[None, :] + window_size - 1
    column_offset = columns[:, None] - columns[None, :] + window_size - 1
    return row_offset * (2 * window_size - 1) + column_offset


def cosine_scale(logit_scale: Tensor) -> Tensor:
    """The learned temperature of cosine attention, exp(logit_scale), bounded by 100."""
    return logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()


def cosine_attention(q: Tensor, k: Tensor, v: Tensor, logit_scale: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    """Attention by the cosine of queries and keys: `softmax(cos(q, k) * cosine_scale(logit_scale) + bias) v`.

    Args:
        q: (..., L, n, d); cosines are taken along d.
        k: (..., L, n, d)
        v: (..., L, n, d)
        logit_scale: (L, 1, 1)
        bias: Added to the scores, (..., L, n, n).

    Returns:
        (..., L, n, d)
    """
    scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
    scores = scores * cosine_scale(logit_scale) + bias
    return scores.softmax(dim=-1) @ v


def position_bias(table: Tensor, index: Tensor) -> Tensor:
    """The bias of each pair of pixels of a window: table ((2M-1)^2, L), index (M^2, M^2) -> (L, M^2, M^2)."""
    return table[index].permute(2, 0, 1)


class SpatialAttention(nn.Module):
    """Cosine attention between the pixels of a window, with relative position bias.

    Args:
        heads: Spatial heads L.
        head_dim: Channels d of a head.
        window_size: Window side M, even.
    """

    relative_position_index: Tensor

    def __init__(self, heads: int, head_dim: int, *, window_size: int) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_position_index(window_size))
        self.proj = Pointwise(heads * head_dim, heads * head_dim)

    def scale(self) -> Tensor:
        """What cosines are multiplied with, (L)."""
        return cosine_scale(self.logit_scale).flatten()

    def bias(self) -> Tensor:
        """The relative position bias, (L, M^2, M^2)."""
        return position_bias(self.relative_position_bias_table, self.relative_position_index)

    def forward(self, qkv: Tensor, windows: Windows, gate: Tensor | None = None) -> Tensor:
        """Attend within windows.

        Args:
            qkv: Queries of all heads, then keys, then values, window by window, (windows, M^2, 3*L*d).
            windows: Where the windows lie.
            gate: (windows, M^2, d) or None; multiplies the values of every head (the reciprocal helper).

        Returns:
            (B, H, W, L*d)
        """
        return windows.scatter(self.proj(window_attention(qkv, gate, self.scale(), self.bias())))


class ChannelAttention(nn.Module):
    """Cosine attention between the channels of a head, over the whole image.

    Args:
        heads: Channel heads L.
        head_dim: Channels d of a head.
    """

    def __init__(self, heads: int, head_dim: int) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.proj = Pointwise(heads * head_dim, heads * head_dim)

    def scale(self) -> Tensor:
        """What cosines are multiplied with, (L)."""
        return cosine_scale(self.logit_scale).flatten()

    def forward(self, qkv: Tensor, gate: Tensor | None = None) -> Tensor:
        """Attend between channels.

        Args:
            qkv: Queries of all heads, then keys, then values, (B, H, W, 3*L*d).
            gate: (B, H, W, 1) or None; multiplies the values of every channel (the reciprocal helper).

        Returns:
            (B, H, W, L*d)
        """
        dim = self.proj.in_channels
        qk, v = qkv.split([2 * dim, dim], dim=-1)
        if gate is not None:
            v = v * gate
        weight, bias = self.proj.matrix()
        mixing = channel_mixing(channel_products(qk.flatten(1, 2)), self.scale(), weight).transpose(1, 2).to(v.dtype)
        return torch.baddbmm(bias, v.flatten(1, 2), mixing).view_as(v)
