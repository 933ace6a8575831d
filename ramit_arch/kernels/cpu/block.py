"""Blocks and MobiVari layers of RAMiT by the C++ kernels: what they support, and their weights in the kernels' order.

Without gradients a D-RAMiT block is two calls, its attentions and all that follows them. With gradients, PyTorch
projects q, k and v and attends between channels; the rest is done by kernels, too.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ramit_arch.attention import channel_products, cosine_attention, cosine_scale, position_bias
from ramit_arch.kernels.cpu import binding, inference, training
from ramit_arch.kernels.cpu.gather import WindowGather
from ramit_arch.kernels.cpu.post_attention import FeedForwardWeights, MobiVariWeights, mobivari, post_attention
from ramit_arch.kernels.reference import channel_mixing
from ramit_arch.layers import BlockOutput


class Kernel(NamedTuple):
    """Fast form of a module's `forward`.

    Attributes:
        is_supported: (module, x) -> whether `run` can compute it.
        run: (module, x, ...) -> the same as the module's own `forward`.
    """

    is_supported: Callable[..., bool]
    run: Callable[..., Any]


class Projection(NamedTuple):
    """Weight (out, in) and bias (out), if any, of a linear map."""

    weight: Tensor
    bias: Tensor | None


# MobiVari -------------------------------------------------------------------------------------------------------------


def _supports_mobivari(layer: Any, x: Tensor) -> bool:
    return binding.is_supported(x, *_channels(layer))


def _channels(layer: Any) -> tuple[int, int, int]:
    """Channels of the input, of the hidden map and of the output."""
    first = getattr(layer, "exp_conv", layer.dw_conv)
    return first.in_channels, layer.dw_conv.out_channels, layer.pw_conv.out_channels


def _run_mobivari(layer: Any, x: Tensor) -> Tensor:
    return mobivari(x, mobivari_weights(layer))


def mobivari_weights(layer: Any) -> MobiVariWeights:
    """Weights of a MobiVari layer as the kernels take them."""
    rest = layer.dw_conv.weight, layer.dw_conv.bias, *_matrix(layer.pw_conv)
    if not hasattr(layer, "exp_conv"):
        return MobiVariWeights(None, None, *rest, groups=0)
    return MobiVariWeights(*_matrix(layer.exp_conv), *rest, groups=layer.exp_conv.groups)


def _matrix(layer: Any) -> tuple[Tensor, Tensor]:
    """Weight (C_out, C_in / groups) and bias (C_out) of a 1x1 convolution."""
    return layer.weight.flatten(1), layer.bias


# D-RAMiT block --------------------------------------------------------------------------------------------------------


def _supports_block(block: Any, x: Tensor) -> bool:
    channels = *_channels(block.mobivari), block.ffn.hidden.out_channels
    return binding.is_supported(x, *channels, side=block.sp_attn.window_size)


def _run_block(block: Any, x: Tensor, previous: Tensor | None = None, overwrite: bool = False) -> BlockOutput:
    helpers = previous if block.helper else None
    if inference.is_supported(x.shape[-1], block.sp_attn.heads, block.ch_attn.heads) and not torch.is_grad_enabled():
        attentions = _attend_fused(block, x, helpers, previous if overwrite else None)
    else:
        attentions = _attend(block, x, helpers)
    weights = mobivari_weights(block.mobivari), feed_forward_weights(block)
    y, mixed = post_attention(attentions, x, *weights, keep_mixed=block.last, overwrite=overwrite)
    return BlockOutput(y, attentions, mixed)


def feed_forward_weights(block: Any) -> FeedForwardWeights:
    """Weights of the norms and of the feed-forward network of a block as the kernels take them."""
    norm1, norm2, ffn = block.norm1.norm, block.norm2.norm, block.ffn
    layers = *_matrix(ffn.hidden), *_matrix(ffn.out)
    return FeedForwardWeights(norm1.weight, norm1.bias, *layers, norm2.weight, norm2.bias)


def _attend_fused(block: Any, x: Tensor, helpers: Tensor | None, out: Tensor | None) -> Tensor:
    """Both attentions by one kernel, without gradients, in the place of `out` unless it is None."""
    sp, ch = block.sp_attn, block.ch_attn
    weight, bias = _qkv_by_kind(block)
    spatial = [cosine_scale(sp.logit_scale).flatten(), _bias(sp), *_matrix(sp.proj)]
    channel = [cosine_scale(ch.logit_scale).flatten(), *_matrix(ch.proj)]
    qkv = [weight] if bias is None else [weight, bias]
    products = None
    if ch.statistics is not None:
        first, dim = block.qkv_dims[0], 2 * block.attention_dims[1]
        qk = [layer[first : first + dim] for layer in qkv]
        products = ch.statistics.products(ch, x, lambda part: F.linear(part, *qk))
    arguments = x, helpers, qkv, spatial, channel, sp.shift, products
    y: Tensor = (
        inference.attend(*arguments) if out is None or out.dtype != x.dtype else inference.attend_into(out, *arguments)
    )
    return y


def _attend(block: Any, x: Tensor, helpers: Tensor | None) -> Tensor:
    """Both attentions with gradients: the spatial one by a kernel, the channel one in PyTorch."""
    sp_attn, ch_attn = block.sp_attn, block.ch_attn
    windows = WindowGather(x.shape[1], x.shape[2], sp_attn.window_size, sp_attn.shift)
    helper = sp_mean = None
    if helpers is not None:
        sp, ch = helpers.split(block.attention_dims, dim=-1)
        helper = windows.gather(ch.unflatten(-1, (ch_attn.heads, -1)).mean(-2))
        sp_mean = sp.mean(-1, keepdim=True)
    of_sp, of_ch = _projections(block)
    qkv = F.linear(windows.gather(x), *of_sp)
    y = _window_attention(qkv, helper, cosine_scale(sp_attn.logit_scale).flatten(), _bias(sp_attn))
    sp = windows.scatter(sp_attn.proj(y))
    ch = _channel_attention(ch_attn, F.linear(x, *of_ch), sp_mean)
    return torch.cat([sp, ch], dim=-1)


def _window_attention(qkv: Tensor, helper: Tensor | None, scale: Tensor, bias: Tensor) -> Tensor:
    """Attention within windows: (windows, M^2, 3*L*d), helper (windows, M^2, d) -> (windows, M^2, L*d)."""
    heads = len(scale)
    if training.is_supported(qkv, qkv.shape[-1] // (3 * heads)):
        return training.window_attention(qkv, helper, scale, bias)
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # (windows, L, M^2, d)
    v = v if helper is None else v * helper.unsqueeze(1)
    return cosine_attention(q, k, v, scale.view(-1, 1, 1), bias).transpose(1, 2).flatten(2)


def _channel_attention(attention: Any, qkv: Tensor, helper: Tensor | None) -> Tensor:
    """Attention between channels and its projection as one matrix: (B, H, W, 3*L*d) -> (B, H, W, L*d)."""
    dim = attention.proj.in_channels
    qk, v = qkv.split([2 * dim, dim], dim=-1)
    v = v if helper is None else v * helper
    weight, bias = _matrix(attention.proj)
    scale = cosine_scale(attention.logit_scale).flatten()
    if attention.statistics is None:
        products = channel_products(qk.flatten(1, 2))
    else:
        products = attention.statistics.products(attention, qk, lambda part: part)
    mixing = channel_mixing(products, scale, weight).mT.to(v.dtype).expand(len(v), -1, -1)
    return torch.baddbmm(bias, v.flatten(1, 2), mixing).view_as(v)


def _bias(attention: Any) -> Tensor:
    """Relative position bias, (L, M^2, M^2)."""
    return position_bias(attention.relative_position_bias_table, attention.relative_position_index)


def _projections(block: Any) -> tuple[Projection, Projection]:
    """Projections to q, k, v of the spatial heads and of the channel heads."""
    weight, bias = _qkv_by_kind(block)
    weights = weight.split(block.qkv_dims)
    biases = (None, None) if bias is None else bias.split(block.qkv_dims)
    return Projection(weights[0], biases[0]), Projection(weights[1], biases[1])


def _qkv_by_kind(block: Any) -> Projection:
    """Projection to q of all spatial heads, then k, then v, and the same of the channel heads.

    The published weights have q, k, v of the first head, then of the second, ...
    """
    qkv = block.qkv_proj.qkv
    sp_heads, heads = block.sp_attn.heads, block.sp_attn.heads + block.ch_attn.heads

    def reorder(layer: Tensor) -> Tensor:
        by_head = layer.unflatten(0, (heads, 3, -1))
        kinds = by_head[:sp_heads], by_head[sp_heads:]
        return torch.cat([kind.transpose(0, 1).flatten(0, 2) for kind in kinds])

    return Projection(reorder(qkv.weight.flatten(1)), None if qkv.bias is None else reorder(qkv.bias))


KERNELS = {
    "mobivari": Kernel(_supports_mobivari, _run_mobivari),
    "block": Kernel(_supports_block, _run_block),
}
"""Kinds of modules that have kernels; `ramit_arch.kernels.accelerated` names them."""
