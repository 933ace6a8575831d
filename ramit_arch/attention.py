"""Reciprocal self-attention: spatial heads on windows, channel heads on the whole image."""

import math

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

    Shifted windows wrap around the border and attend across it: there is no attention mask.

    Args:
        heads: Spatial heads L.
        head_dim: Channels d of a head.
        window_size: Window side M, even.
        shift: Shift of the windows in pixels, 0 or M / 2.
    """

    relative_position_index: Tensor

    def __init__(self, heads: int, head_dim: int, *, window_size: int, shift: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.window_size, self.shift = window_size, shift
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_position_index(window_size))
        self.proj = nn.Conv2d(heads * head_dim, heads * head_dim, 1)

    def forward(self, qkv: Tensor, gate: Tensor | None = None) -> Tensor:
        """Attend within windows.

        Args:
            qkv: (B, L*3*d, H, W), head-major; H and W are multiples of M.
            gate: (B, d, H, W) or None; multiplies the values of every head (the reciprocal helper).

        Returns:
            (B, L*d, H, W)
        """
        batch, _, height, width = qkv.shape
        q, k, v = qkv.reshape(batch, self.heads, 3, self.head_dim, height, width).unbind(2)
        if gate is not None:
            v = v * gate.unsqueeze(1)
        q, k, v = (self._to_windows(t) for t in (q, k, v))  # (B, H/M, W/M, L, M^2, d)
        bias = position_bias(self.relative_position_bias_table, self.relative_position_index)
        y = cosine_attention(q, k, v, self.logit_scale, bias)
        return self._roll(self.proj(self._from_windows(y, height, width)), self.shift)

    def _roll(self, x: Tensor, shift: int) -> Tensor:
        return x.roll((shift, shift), (-2, -1)) if shift else x

    def _to_windows(self, x: Tensor) -> Tensor:
        """(B, L, d, H, W) -> (B, H/M, W/M, L, M^2, d), after the cyclic shift."""
        m = self.window_size
        x = self._roll(x, -self.shift)
        x = x.unflatten(-1, (x.shape[-1] // m, m)).unflatten(-3, (x.shape[-2] // m, m))  # (B, L, d, H/M, M, W/M, M)
        return x.permute(0, 3, 5, 1, 4, 6, 2).flatten(4, 5)

    def _from_windows(self, x: Tensor, height: int, width: int) -> Tensor:
        """(B, H/M, W/M, L, M^2, d) -> (B, L*d, H, W), heads merged head-major, still shifted."""
        m = self.window_size
        x = x.unflatten(4, (m, m)).permute(0, 3, 6, 1, 4, 2, 5)  # (B, L, d, H/M, M, W/M, M)
        return x.reshape(x.shape[0], self.heads * self.head_dim, height, width)


class ChannelAttention(nn.Module):
    """Cosine attention between the channels of a head, over the whole image.

    Args:
        heads: Channel heads L.
        head_dim: Channels d of a head.
    """

    def __init__(self, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.proj = nn.Conv2d(heads * head_dim, heads * head_dim, 1)

    def forward(self, qkv: Tensor, gate: Tensor | None = None) -> Tensor:
        """Attend between channels.

        Args:
            qkv: (B, L*3*d, H, W), head-major.
            gate: (B, 1, H, W) or None; multiplies the values of every channel (the reciprocal helper).

        Returns:
            (B, L*d, H, W)
        """
        batch, _, height, width = qkv.shape
        q, k, v = qkv.reshape(batch, self.heads, 3, self.head_dim, height * width).unbind(2)  # (B, L, d, HW)
        if gate is not None:
            v = v * gate.flatten(2).unsqueeze(1)
        y = cosine_attention(q, k, v, self.logit_scale)
        return self.proj(y.reshape(batch, self.heads * self.head_dim, height, width))
