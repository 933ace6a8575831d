"""What the kernels compute, in PyTorch's own operations: they serve wherever no kernel does."""

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F

SMALLEST_NORM = 1e-12
"""Shorter queries and keys are divided by this."""


def wide(x: Tensor) -> Tensor:
    """In float32 at least: lengths and long sums would overflow or vanish in float16, and blur in bfloat16."""
    return x if x.dtype == torch.float64 else x.float()


def window_attention(qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor) -> Tensor:
    """Cosine attention within windows: `softmax(scale * cos(q, k) + bias) (gate * v)`, head by head.

    Args:
        qkv: Queries of all heads, then keys, then values, (windows, n, 3*L*d).
        gate: (windows, n, d) or None; multiplies the values of every head.
        scale: (L)
        bias: (L, n, n)

    Returns:
        (windows, n, L*d)
    """
    heads = len(scale)
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # (windows, L, n, d)
    if gate is not None:
        v = v * gate.unsqueeze(1)
    q = (F.normalize(wide(q), dim=-1, eps=SMALLEST_NORM) * scale.view(-1, 1, 1)).to(v.dtype)
    k = F.normalize(wide(k), dim=-1, eps=SMALLEST_NORM).to(v.dtype)
    bias = bias.to(v.dtype)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.unsqueeze(0), scale=1.0)
    return y.transpose(1, 2).flatten(2)


def add_norm(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`x + LayerNorm(y)` over the channels, eps 1e-5: (..., C), (..., C), (C), (C) -> (..., C)."""
    return x + F.layer_norm(y, y.shape[-1:], weight, bias)


def channel_products(qk: Tensor) -> Tensor:
    """The sums that `channel_mixing` takes, (B, 2*L*d, 2*L*d).

    Args:
        qk: Queries of all heads, then keys, (B, pixels, 2*L*d); the pixels may be in any order.
    """
    device = qk.device.type
    # Tensors that have only shapes know no autocast.
    with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
        qk = wide(qk)
        return qk.transpose(1, 2) @ qk


def channel_mixing(products: Tensor, scale: Tensor, weight: Tensor) -> Tensor:
    """Cosine attention between the channels of a head, and the projection after it, as one matrix.

    Args:
        products: Sums over all pixels of the products of every two channels, queries of all heads, then keys,
            (B, 2*L*d, 2*L*d). Those of a channel with itself are its squared length.
        scale: (L)
        weight: Of the projection, (L*d, L*d).

    Returns:
        (B, L*d, L*d): what the values of a pixel are multiplied with.
    """
    heads = len(scale)
    length = products.diagonal(dim1=1, dim2=2).clamp(min=SMALLEST_NORM**2).sqrt()
    cosines = products / (length.unsqueeze(2) * length.unsqueeze(1))
    queries_and_keys = (2, heads, -1)
    cosines = cosines.unflatten(2, queries_and_keys).unflatten(1, queries_and_keys)[:, 0, :, :, 1]  # (B, L, d, L, d)
    cosines = cosines.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)  # (B, L, d, d)
    attention = (cosines * scale.view(-1, 1, 1)).softmax(dim=-1)
    weight = weight.to(attention.dtype).unflatten(1, (heads, -1))
    return torch.einsum("oli,blij->bolj", weight, attention).flatten(2)
