"""Cosine attention: between the pixels of a window, and between the channels of the whole image."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ramit_arch.layers import Pointwise
from ramit_arch.windows import cyclic_shift, window_partition, window_reverse

MAX_LOGIT_SCALE = math.log(100.0)

MIN_NORM = 1e-12
"""Lower bound of the L2 norm of queries and keys."""


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


def position_bias(table: Tensor, index: Tensor) -> Tensor:
    """Relative position bias of each pair of pixels: table ((2M-1)^2, L), index (M^2, M^2) -> (L, M^2, M^2)."""
    return table[index].permute(2, 0, 1)


def cosine_scale(logit_scale: Tensor) -> Tensor:
    """Learned temperature of cosine attention: exp(logit_scale), at most 100, same shape."""
    return logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()


def at_least_float32(x: Tensor) -> Tensor:
    """`x` in float32 or wider: norms and long sums overflow or vanish in float16 and lose digits in bfloat16."""
    return x if x.dtype == torch.float64 else x.float()


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Context in which operations on `x` keep its type, under autocast too."""
    device = x.device.type
    # Autocast does not know the meta device.
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def cosine_attention(q: Tensor, k: Tensor, v: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Attention by the cosine of queries and keys: `softmax(scale * cos(q, k) + bias) v`.

    Args:
        q: (..., L, n, d); cosines are taken along d.
        k: (..., L, n, d)
        v: (..., L, n, d)
        scale: (L, 1, 1), from `cosine_scale`.
        bias: Added to the scores, broadcast to (..., L, n, n).

    Returns:
        (..., L, n, d)
    """
    q = F.normalize(at_least_float32(q), dim=-1, eps=MIN_NORM) * scale
    k = F.normalize(at_least_float32(k), dim=-1, eps=MIN_NORM)
    if torch.compiler.is_exporting():
        # The layout of the fused operator's result depends on the device, and ONNX knows it for 4-D tensors only.
        return (q @ k.mT + bias).softmax(dim=-1).to(v.dtype) @ v
    return F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, attn_mask=bias.to(v.dtype), scale=1.0)


def cosine_matrix(q: Tensor, k: Tensor, part: int) -> Tensor:
    """Cosines between the rows of `q` and of `k`, in float32 at least: (..., n, p), (..., m, p) -> (..., n, m).

    Args:
        q: (..., n, p)
        k: (..., m, p)
        part: Divisor of p. In exports, as many terms at a time are added up by themselves.
    """
    with without_autocast(q):
        q, k = at_least_float32(q), at_least_float32(k)
        norms = q.norm(dim=-1).clamp(min=MIN_NORM).unsqueeze(-1), k.norm(dim=-1).clamp(min=MIN_NORM).unsqueeze(-2)
        if torch.compiler.is_exporting():
            # ONNX Runtime and OpenVINO add up in one row, where errors of equal terms, as of a flat image, add up, too.
            q, k = (x.unflatten(-1, (-1, part)).transpose(-3, -2) for x in (q, k))
            products = (q @ k.mT).sum(-3)
        else:
            products = q @ k.mT
        return products / (norms[0] * norms[1])


def channel_products(qk: Tensor, weight: Tensor | None = None) -> Tensor:
    """Sums over all pixels of the products of every two channels, in float32 at least: (B, 2*L*d, 2*L*d).

    Args:
        qk: q of all heads, then k of all heads, (B, pixels, 2*L*d); the pixels may be in any order.
        weight: Weight of each pixel, (B, pixels); None: 1.
    """
    with without_autocast(qk):
        qk = at_least_float32(qk)
        return (qk if weight is None else qk * weight.to(qk.dtype).unsqueeze(-1)).mT @ qk


def channel_attention(products: Tensor, scale: Tensor) -> Tensor:
    """Attention of each channel of q to those of k within a head, from `channel_products`: (B, L, d, d).

    Args:
        products: (B, 2*L*d, 2*L*d). The product of a channel with itself is its squared L2 norm.
        scale: Temperature of each head, (L).
    """
    norm = products.diagonal(dim1=1, dim2=2).clamp(min=MIN_NORM**2).sqrt()
    cosines = products / (norm.unsqueeze(2) * norm.unsqueeze(1))
    q_and_k = (2, len(scale), -1)
    cosines = cosines.unflatten(2, q_and_k).unflatten(1, q_and_k)[:, 0, :, :, 1]  # (B, L, d, L, d)
    cosines = cosines.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)  # (B, L, d, d)
    return (cosines * scale.view(-1, 1, 1)).softmax(dim=-1)


class StatisticsSource(Protocol):
    """Provider of channel statistics in place of those of the input itself, for tiles of a larger image."""

    def products(self, attention: "ChannelAttention", x: Tensor, project: Callable[[Tensor], Tensor]) -> Tensor:
        """Statistics that a channel attention is to use, as `channel_products` gives them, (B or 1, 2*L*d, 2*L*d).

        Args:
            attention: The channel attention.
            x: Map at hand, (B, H, W, C).
            project: Computes q of all heads, then k of all heads, of any part of the map: (..., C) -> (..., 2*L*d).
        """


class SpatialAttention(nn.Module):
    """Cosine attention between the pixels of a window, with relative position bias (spatial heads).

    Shifted windows wrap around the border of the image and are not masked.

    Args:
        heads: Spatial heads L.
        head_dim: Channels d of a head.
        window_size: Window side M in pixels, even.
        shift: Cyclic shift of the windows in pixels, 0 or M / 2.
    """

    relative_position_index: Tensor

    def __init__(self, heads: int, head_dim: int, *, window_size: int, shift: int) -> None:
        super().__init__()
        self.heads, self.head_dim, self.window_size, self.shift = heads, head_dim, window_size, shift
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_position_index(window_size))
        self.proj = Pointwise(heads * head_dim, heads * head_dim)

    def forward(self, qkv: Tensor, ch: Tensor | None = None) -> Tensor:
        """Attend within windows.

        Args:
            qkv: q, k and v of the first head, then of the second, ..., (B, H, W, 3*L*d).
            ch: Channel attention of the previous block, (B, H, W, L_ch*d): the reciprocal helper. Averaged over its
                heads, it multiplies v of every head. None: no helper.

        Returns:
            (B, H, W, L*d)
        """
        rows, columns = qkv.shape[1] // self.window_size, qkv.shape[2] // self.window_size
        q, k, v = self._windows(qkv).unflatten(-1, (self.heads, 3, self.head_dim)).permute(3, 0, 2, 1, 4)
        if ch is not None:
            helper = ch.unflatten(-1, (-1, self.head_dim)).mean(-2)  # (B, H, W, d)
            v = v * self._windows(helper).unsqueeze(1)
        bias = position_bias(self.relative_position_bias_table, self.relative_position_index)
        y = cosine_attention(q, k, v, cosine_scale(self.logit_scale), bias)  # (windows, L, M^2, d)
        y = self.proj(y.transpose(1, 2).flatten(2))  # (windows, M^2, L*d)
        y = window_reverse(y.unflatten(0, (-1, rows, columns)), self.window_size)  # (B, H, W, L*d)
        return cyclic_shift(y, self.shift)

    def _windows(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B * H/M * W/M, M^2, C)"""
        return window_partition(cyclic_shift(x, -self.shift), self.window_size).flatten(0, 2)


class ChannelAttention(nn.Module):
    """Cosine attention between the channels of a head, over the whole image (channel heads).

    Args:
        heads: Channel heads L.
        head_dim: Channels d of a head.
    """

    def __init__(self, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.statistics: StatisticsSource | None = None
        """Source of the statistics in place of the input, if it is but a tile of the image."""
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.proj = Pointwise(heads * head_dim, heads * head_dim)

    def forward(self, qkv: Tensor, sp: Tensor | None = None) -> Tensor:
        """Attend between channels.

        Args:
            qkv: q, k and v of the first head, then of the second, ..., (B, H, W, 3*L*d).
            sp: Spatial attention of the previous block, (B, H, W, L_sp*d): the reciprocal helper. Averaged over its
                channels, it multiplies v. None: no helper.

        Returns:
            (B, H, W, L*d)
        """
        height, width = qkv.shape[1:3]
        q, k, v = qkv.flatten(1, 2).unflatten(-1, (self.heads, 3, self.head_dim)).permute(3, 0, 2, 4, 1)
        if sp is not None:
            v = v * sp.mean(-1).flatten(1)[:, None, None]  # (B, 1, 1, H*W)
        if self.statistics is None:
            attention = (cosine_matrix(q, k, width) * cosine_scale(self.logit_scale)).softmax(dim=-1)  # (B, L, d, d)
        else:
            products = self.statistics.products(self, qkv, self._queries_and_keys)
            attention = channel_attention(products, cosine_scale(self.logit_scale).flatten())
        y = attention.to(v.dtype) @ v  # (B, L, d, H*W)
        return self.proj(y.flatten(1, 2).mT.unflatten(1, (height, width)))

    def _queries_and_keys(self, qkv: Tensor) -> Tensor:
        """Queries of all heads, then keys of all heads: (..., 3*L*d) -> (..., 2*L*d)."""
        return qkv.unflatten(-1, (self.heads, 3, self.head_dim))[..., :2, :].transpose(-2, -3).flatten(-3)
