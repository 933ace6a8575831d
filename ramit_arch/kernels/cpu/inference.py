"""The attentions of a RAMiT block on a CPU without gradients: one call, by the C++ kernel of inference.cpp.

It is a PyTorch operator, so that torch.compile takes it as it is.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

from ramit_arch.kernels.cpu import binding
from ramit_arch.kernels.cpu.binding import MOST, MOST_HEAD_DIM, SUFFIXES, call, padded, panel, rounded_up
from ramit_arch.kernels.reference import channel_mixing

import torch
from torch import Tensor


class _Attend(ctypes.Structure):
    _fields_ = binding.fields(
        "batch height width channels spatial_heads channel_heads head_dim shift helped",
        "x helpers y qkv_weight qkv_bias scale position_bias proj_weight proj_bias",
    )


def knows(channels: int, spatial_heads: int, channel_heads: int) -> bool:
    """Whether `attend` has working memory enough for a block of so many channels and heads."""
    head_dim = channels // (spatial_heads + channel_heads)
    return 3 * channels <= MOST and head_dim <= MOST_HEAD_DIM and 2 * channel_heads * head_dim <= 128


@torch.library.custom_op("ramit::attend", mutates_args=())
def attend(
    x: Tensor,
    helpers: Tensor | None,
    qkv: Sequence[Tensor],
    spatial: Sequence[Tensor],
    channel: Sequence[Tensor],
    shift: int,
) -> Tensor:
    """Spatial and channel attention side by side, from their common input to their projections.

    Args:
        x: (B, H, W, C), float32 or bfloat16; H and W multiples of 8.
        helpers: What this returned for the previous block, or None.
        qkv: Weight (3C, C) and bias (3C), if any: queries, keys, values of the spatial heads (L_sp), then of the
            channel heads (L_ch).
        spatial: Of the spatial heads: scale (L_sp), relative position bias (L_sp, 64, 64), weight (L_sp*d, L_sp*d) and
            bias (L_sp*d) of the projection.
        channel: Of the channel heads: scale (L_ch), weight (L_ch*d, L_ch*d) and bias (L_ch*d) of the projection.
        shift: Of the windows, 0 or 4 pixels.

    Returns:
        (B, H, W, C): spatial attention, then channel attention.
    """
    batch, height, width, channels = x.shape
    scale, position_bias, proj_weight, proj_bias = spatial
    ch_scale, ch_weight, ch_bias = channel
    sp_heads, ch_heads = len(scale), len(ch_scale)
    dim = channels // (sp_heads + ch_heads)
    x = x.contiguous()
    y = torch.empty_like(x)
    with torch.autocast("cpu", enabled=False):
        bias = qkv[1] if len(qkv) > 1 else torch.zeros(3 * channels)
        structure, kept = binding.structure(
            _Attend,
            [batch, height, width, channels, sp_heads, ch_heads, dim, shift, helpers is not None],
            [x, None if helpers is None else helpers.contiguous(), y],
            [panel(qkv[0]), padded(bias), scale, position_bias.mT, panel(proj_weight), padded(proj_bias)],
        )
        suffix, threads = SUFFIXES[x.dtype], torch.get_num_threads()
        n = 2 * ch_heads * dim
        products = torch.zeros(threads, batch, rounded_up(n), rounded_up(n), dtype=torch.float64)
        call(f"attend_{suffix}", structure, threads, products)
        sums = products.sum(0).float()[:, :n, :n]
        mixing = padded(channel_mixing(sums, ch_scale.float(), ch_weight.float()).transpose(1, 2)).contiguous()
        ch_bias = padded(ch_bias.float()).contiguous()
        last = channels, ch_heads * dim, mixing, ch_bias, batch, ctypes.c_long(height * width)
        call(f"mix_{suffix}", y, *last, threads)
    del kept
    return y


@attend.register_fake
def _(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)
