"""Attentions of a RAMiT block on a CPU without gradients, by the C++ kernel of block_attention.cpp.

It is a PyTorch operator, so that torch.compile calls it as it is.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ramit_arch.kernels.cpu import abi
from ramit_arch.kernels.cpu.binding import SUFFIXES, call, contiguous_float32, pack, padded, padded_size, panel
from ramit_arch.kernels.cpu.library import library
from ramit_arch.kernels.cpu.operators import operator
from ramit_arch.kernels.reference import channel_mixing


def is_supported(channels: int, spatial_heads: int, channel_heads: int) -> bool:
    """Whether the kernel has working memory enough for a block of so many channels and heads."""
    kernels = library()
    if kernels is None:
        return False
    limits, head_dim = kernels.limits, channels // (spatial_heads + channel_heads)
    return (
        3 * channels <= limits.max_channels
        and head_dim <= limits.max_head_dim
        and 2 * channel_heads * head_dim <= limits.max_channel_qk
    )


@operator()
def attend(
    x: Tensor,
    helper: Tensor | None,
    qkv: Sequence[Tensor],
    spatial: Sequence[Tensor],
    channel: Sequence[Tensor],
    shift: int,
    products: Tensor | None = None,
) -> Tensor:
    """Spatial and channel attention side by side, from their common input to their projections.

    Args:
        x: Input of the block, (B, H, W, C), float32 or bfloat16; H and W multiples of 8.
        helper: Attentions of the previous block, as returned by this function, or None.
        qkv: Weight (3C, C) and bias (3C), if any: q, k, v of the spatial heads (L_sp), then of the channel heads
            (L_ch).
        spatial: Parameters of the spatial heads: logit scale (L_sp), relative position bias (L_sp, 64, 64), weight
            (L_sp*d, L_sp*d) and bias (L_sp*d) of the projection.
        channel: Parameters of the channel heads: logit scale (L_ch), weight (L_ch*d, L_ch*d) and bias (L_ch*d) of the
            projection.
        shift: Shift of the windows, 0 or 4 pixels.
        products: Statistics of the channel heads in place of those of `x`, (B or 1, 2*L_ch*d, 2*L_ch*d).

    Returns:
        Spatial attention, then channel attention, (B, H, W, C).
    """
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    return attend_into(y, x, helper, qkv, spatial, channel, shift, products)


@torch.library.register_fake("ramit::attend")
def _(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def attend_into(
    y: Tensor,
    x: Tensor,
    helper: Tensor | None,
    qkv: Sequence[Tensor],
    spatial: Sequence[Tensor],
    channel: Sequence[Tensor],
    shift: int,
    products: Tensor | None = None,
) -> Tensor:
    """Write what `attend` returns into `y`, (B, H, W, C), which may be `helper`: a window is read before it is written.

    Returns:
        `y`
    """
    batch, height, width, channels = x.shape
    scale, position_bias, proj_weight, proj_bias = spatial
    ch_scale, ch_weight, ch_bias = channel
    sp_heads, ch_heads = len(scale), len(ch_scale)
    dim = channels // (sp_heads + ch_heads)
    n = 2 * ch_heads * dim
    x = x.contiguous()
    sums = torch.zeros(torch.get_num_threads(), batch, padded_size(n), padded_size(n), dtype=torch.float64)
    with torch.autocast("cpu", enabled=False):
        attention = pack(
            abi.BlockAttention,
            batch=batch,
            height=height,
            width=width,
            channels=channels,
            spatial_heads=sp_heads,
            channel_heads=ch_heads,
            head_dim=dim,
            shift=shift,
            x=x,
            helper=None if helper is None else helper.contiguous(),
            y=y,
            qkv_weight=panel(qkv[0]),
            qkv_bias=padded(qkv[1] if len(qkv) > 1 else torch.zeros(3 * channels)),
            scale=contiguous_float32(scale),
            position_bias=contiguous_float32(position_bias.mT),
            proj_weight=panel(proj_weight),
            proj_bias=padded(proj_bias),
            products=sums,
        )
        call(f"block_attention_{SUFFIXES[x.dtype]}", attention)
        if products is None:
            products = sums.sum(0)[:, :n, :n]
        mixing_weight = channel_mixing(products.float(), ch_scale.float(), ch_weight.float()).mT
        mixing = pack(
            abi.ChannelMixing,
            batch=batch,
            pixels=height * width,
            channels=channels,
            n=ch_heads * dim,
            y=y,
            weight=padded(mixing_weight.expand(batch, -1, -1)),
            bias=padded(ch_bias),
        )
        call(f"mix_channels_{SUFFIXES[x.dtype]}", mixing)
    return y
