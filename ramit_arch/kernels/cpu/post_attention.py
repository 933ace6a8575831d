"""Rest of a block after its attentions, on a CPU, with and without gradients: MobiVari, norms, feed-forward network.

PyTorch operators around the C++ kernels of post_attention.cpp and post_attention_backward.cpp, which torch.compile
calls as they are. Only inputs and weights are kept for the gradients; all else is recomputed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ramit_arch.kernels.cpu import abi
from ramit_arch.kernels.cpu.binding import SUFFIXES, call, contiguous_float32, pack, padded, padded_size, panel
from ramit_arch.kernels.cpu.operators import operator


class MobiVariWeights(NamedTuple):
    """Weights of MobiVari from C to C' channels, with E hidden channels."""

    exp_weight: Tensor | None
    """Weight of the expanding convolution, (E, C / groups); None for version 1, where E = C."""
    exp_bias: Tensor | None
    """(E)"""
    dw_weight: Tensor
    """Weight of the depthwise convolution, (E, 1, 3, 3)."""
    dw_bias: Tensor
    """(E)"""
    pw_weight: Tensor
    """Weight of the pointwise convolution, (C', E)."""
    pw_bias: Tensor
    """(C')"""
    groups: int
    """Groups of the expanding convolution; 0 for version 1."""


class FeedForwardWeights(NamedTuple):
    """Weights of the norms (C) and of the feed-forward network between them, with E hidden channels."""

    norm1_weight: Tensor
    norm1_bias: Tensor
    hidden_weight: Tensor
    """(E, C)"""
    hidden_bias: Tensor
    """(E)"""
    out_weight: Tensor
    """(C, E)"""
    out_bias: Tensor
    norm2_weight: Tensor
    norm2_bias: Tensor


WEIGHTS = [name for name in MobiVariWeights._fields if name != "groups"] + list(FeedForwardWeights._fields)
"""Names of all weights."""


def mobivari(x: Tensor, weights: MobiVariWeights) -> Tensor:
    """MobiVari: (B, H, W, C) -> (B, H, W, C').

    Args:
        x: float32 or bfloat16; H and W multiples of 8.
        weights: See `MobiVariWeights`.
    """
    y: Tensor = _mobivari(x, *weights)
    return y


def post_attention(
    attentions: Tensor,
    x: Tensor,
    weights: MobiVariWeights,
    feed_forward: FeedForwardWeights,
    *,
    keep_mixed: bool,
    overwrite: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Rest of a block after its attentions: MobiVari, norm, feed-forward network, norm.

    Args:
        attentions: Spatial, then channel attention, (B, H, W, C), float32 or bfloat16; H and W multiples of 8.
        x: Input of the block, (B, H, W, C).
        weights: See `MobiVariWeights`.
        feed_forward: See `FeedForwardWeights`.
        keep_mixed: Whether to return the result of MobiVari, too.
        overwrite: Whether the output may take the place of `x`. There are no gradients then.

    Returns:
        Output of the block; result of MobiVari, or None if it was not asked for; each (B, H, W, C).
    """
    if overwrite and x.is_contiguous():  # a pixel of x is read before it is written
        mixed = torch.empty_like(x) if keep_mixed else None
        _run_block(attentions, x, weights, feed_forward, y=x, mixed=mixed)
        return x, mixed
    y, mixed = _post_attention(attentions, x, *weights, *feed_forward, keep_mixed)
    return y, mixed if keep_mixed else None


# Operators ------------------------------------------------------------------------------------------------------------


@operator(differentiable=True)
def _mobivari(
    x: Tensor,
    exp_weight: Tensor | None,
    exp_bias: Tensor | None,
    dw_weight: Tensor,
    dw_bias: Tensor,
    pw_weight: Tensor,
    pw_bias: Tensor,
    groups: int,
) -> Tensor:
    weights = MobiVariWeights(exp_weight, exp_bias, dw_weight, dw_bias, pw_weight, pw_bias, groups)
    y = x.new_empty(*x.shape[:3], len(pw_weight))
    call(f"post_attention_{SUFFIXES[x.dtype]}", _structure(x.contiguous(), weights, mixed=y))
    return y


@torch.library.register_fake("ramit::mobivari")
def _(x: Tensor, *weights: Any) -> Tensor:
    return x.new_empty(*x.shape[:3], len(MobiVariWeights(*weights).pw_weight))


@operator(differentiable=True)
def _post_attention(
    attentions: Tensor,
    x: Tensor,
    exp_weight: Tensor | None,
    exp_bias: Tensor | None,
    dw_weight: Tensor,
    dw_bias: Tensor,
    pw_weight: Tensor,
    pw_bias: Tensor,
    groups: int,
    norm1_weight: Tensor,
    norm1_bias: Tensor,
    hidden_weight: Tensor,
    hidden_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    norm2_weight: Tensor,
    norm2_bias: Tensor,
    keep_mixed: bool,
) -> tuple[Tensor, Tensor]:
    """Operator of `post_attention`; without `keep_mixed`, its second result is empty."""
    weights = MobiVariWeights(exp_weight, exp_bias, dw_weight, dw_bias, pw_weight, pw_bias, groups)
    feed_forward = FeedForwardWeights(
        norm1_weight, norm1_bias, hidden_weight, hidden_bias, out_weight, out_bias, norm2_weight, norm2_bias
    )
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    mixed = torch.empty_like(y) if keep_mixed else None
    _run_block(attentions, x, weights, feed_forward, y=y, mixed=mixed)
    return y, y.new_empty(0) if mixed is None else mixed


def _run_block(
    attentions: Tensor,
    x: Tensor,
    weights: MobiVariWeights,
    feed_forward: FeedForwardWeights,
    *,
    y: Tensor,
    mixed: Tensor | None,
) -> None:
    """Write the outputs of a block into `y` and, unless it is None, `mixed`."""
    # Under autocast, attentions may be bfloat16 where the block's input is not.
    attentions = attentions.to(x.dtype).contiguous()
    structure = _structure(attentions, weights, feed_forward, x=x.contiguous(), y=y, mixed=mixed)
    call(f"post_attention_{SUFFIXES[x.dtype]}", structure)


@torch.library.register_fake("ramit::post_attention")
def _(attentions: Tensor, x: Tensor, *rest: Any) -> Any:
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    return y, torch.empty_like(y) if rest[-1] else y.new_empty(0)


def _structure(
    source: Tensor,
    weights: MobiVariWeights,
    feed_forward: FeedForwardWeights | None = None,
    *,
    x: Tensor | None = None,
    y: Tensor | None = None,
    mixed: Tensor | None = None,
) -> abi.Structure:
    """Structure of the kernels for MobiVari of `source`, and for the block's input and outputs, if there are any."""
    batch, height, width, channels = source.shape
    hidden, out = len(weights.dw_weight), len(weights.pw_weight)
    layers: dict[str, Tensor | None] = dict.fromkeys(WEIGHTS)
    if weights.exp_weight is not None and weights.exp_bias is not None:
        by_group = weights.groups, hidden // weights.groups
        layers["exp_weight"] = padded(weights.exp_weight.view(*by_group, -1).mT)
        layers["exp_bias"] = padded(weights.exp_bias.view(by_group)).flatten()
    layers |= {"dw_weight": panel(weights.dw_weight.flatten(1)), "dw_bias": padded(weights.dw_bias)}
    layers |= {"pw_weight": panel(weights.pw_weight), "pw_bias": padded(weights.pw_bias)}
    if feed_forward is not None:
        for name, weight in feed_forward._asdict().items():
            layers[name] = padded(weight) if weight.ndim == 1 else panel(weight)
    return pack(
        abi.PostAttention,
        batch=batch,
        height=height,
        width=width,
        in_channels=channels,
        hidden=hidden,
        groups=weights.groups,
        out_channels=out,
        residual=channels == out,
        keep_mixed=mixed is not None,
        ffn_hidden=0 if feed_forward is None else len(feed_forward.hidden_weight),
        attentions=source,
        x=x,
        y=y,
        mixed=mixed,
        **layers,
    )


# Gradients ------------------------------------------------------------------------------------------------------------


@operator()
def _post_attention_backward(
    dy: Tensor | None,
    dmixed: Tensor,
    source: Tensor,
    x: Tensor | None,
    weights: Sequence[Tensor],
    groups: int,
) -> list[Tensor]:
    """Gradients of `_post_attention` or `_mobivari`, from those of their outputs.

    Args:
        dy: Gradient of the block's output; None for MobiVari alone.
        dmixed: Gradient of the result of MobiVari; empty if that was not kept.
        source: Input of MobiVari.
        x: Input of the block; None for MobiVari alone.
        weights: Those of `MobiVariWeights` that are not None, then, for a block, `FeedForwardWeights`.
        groups: Groups of the expanding convolution; 0 for version 1.

    Returns:
        Gradients of `source`, of `x` if there is one, and of all weights.
    """
    mobivari_weights, feed_forward = _named(weights, groups)
    named = {**mobivari_weights._asdict(), **({} if feed_forward is None else feed_forward._asdict())}
    names = [name for name, weight in named.items() if isinstance(weight, Tensor)]
    x32 = None if x is None else contiguous_float32(x)
    forward = _structure(contiguous_float32(source), mobivari_weights, feed_forward, x=x32)
    source32 = forward.tensors["attentions"]
    # Each thread adds up its own.
    sums = {name: _zeros(forward.tensors[name], torch.get_num_threads()) for name in names}
    dsource = torch.empty_like(source32)
    dx = None if x32 is None else torch.empty_like(x32)
    transposed = {
        f"{layer}_weight_t": padded(named[f"{layer}_weight"]) if f"{layer}_weight" in names else None
        for layer in ("exp", "pw", "hidden", "out")
    }
    gradients = pack(
        abi.PostAttentionGradients,
        y=None if dy is None else contiguous_float32(dy),
        mixed=contiguous_float32(dmixed) if dmixed.numel() else None,
        attentions=dsource,
        x=dx,
        depthwise=source32.new_empty(*source.shape[:3], padded_size(len(mobivari_weights.dw_weight))),
        **transposed,
        **(dict.fromkeys(WEIGHTS) | sums),
    )
    call("post_attention_backward", forward, gradients)
    dweights = [
        _unpadded(sums[name].sum(0), named[name], groups if name.startswith("exp_") else 1).to(named[name].dtype)
        for name in names
    ]
    return [dsource.to(source.dtype), *([] if x is None or dx is None else [dx.to(x.dtype)]), *dweights]


@torch.library.register_fake("ramit::post_attention_backward")
def _(dy: Any, dmixed: Any, source: Tensor, x: Tensor | None, weights: Sequence[Tensor], groups: int) -> Any:
    inputs = [source, *([] if x is None else [x]), *weights]
    return [torch.empty_like(each, memory_format=torch.contiguous_format) for each in inputs]


def _named(weights: Sequence[Tensor], groups: int) -> tuple[MobiVariWeights, FeedForwardWeights | None]:
    exp_weight, exp_bias = weights[:2] if groups else (None, None)
    dw_weight, dw_bias, pw_weight, pw_bias, *feed_forward = weights[2:] if groups else weights
    mobivari_weights = MobiVariWeights(exp_weight, exp_bias, dw_weight, dw_bias, pw_weight, pw_bias, groups)
    return mobivari_weights, FeedForwardWeights(*feed_forward) if feed_forward else None


def _zeros(layer: Tensor, threads: int) -> Tensor:
    """Zeros for the gradients of a weight in its layout in the kernel, with its rows padded, too."""
    *sizes, columns = layer.shape
    if sizes:
        sizes[-1] = padded_size(sizes[-1])
    return layer.new_zeros(threads, *sizes, columns)


def _unpadded(total: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Gradient of a weight, from that in the layout of the kernel: in groups, (in, out), padded."""
    out = len(weight) // groups
    if weight.ndim == 1:
        return total.view(groups, -1)[:, :out].flatten()
    inputs = weight[0].numel()
    return total.view(groups, -1, total.shape[-1])[:, :inputs, :out].mT.reshape(weight.shape).contiguous()


def _keep_mobivari(ctx: Any, inputs: Any, output: Any) -> None:
    x, *weights, ctx.groups = inputs
    ctx.save_for_backward(x, *(each for each in weights if each is not None))


def _mobivari_gradients(ctx: Any, dmixed: Tensor) -> Any:
    x, *weights = ctx.saved_tensors
    dx, *dweights = _post_attention_backward(None, dmixed, x, None, weights, ctx.groups)
    return dx, *_named(dweights, ctx.groups)[0][:-1], None


def _keep_block(ctx: Any, inputs: Any, output: Any) -> None:
    attentions, x, *weights, _ = inputs
    ctx.groups = MobiVariWeights(*weights[:7]).groups
    ctx.save_for_backward(attentions, x, *(each for each in weights if isinstance(each, Tensor)))


def _block_gradients(ctx: Any, dy: Tensor, dmixed: Tensor) -> Any:
    attentions, x, *weights = ctx.saved_tensors
    dattentions, dx, *dweights = _post_attention_backward(dy, dmixed, attentions, x, weights, ctx.groups)
    mobivari_gradients, feed_forward = _named(dweights, ctx.groups)
    return dattentions, dx, *mobivari_gradients[:-1], None, *(feed_forward or ()), None


torch.library.register_autograd("ramit::mobivari", _mobivari_gradients, setup_context=_keep_mobivari)
torch.library.register_autograd("ramit::post_attention", _block_gradients, setup_context=_keep_block)
