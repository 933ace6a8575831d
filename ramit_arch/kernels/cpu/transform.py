"""What follows the attentions in a block on a CPU, with and without gradients: MobiVari, norms, feed-forward network.

PyTorch operators around the C++ kernels of inference.cpp and transform_backward.cpp, which torch.compile takes as they
are. Only inputs and weights are kept for the gradients; all else is computed anew.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

from ramit_arch.kernels.cpu import binding
from ramit_arch.kernels.cpu.binding import SUFFIXES, address, call, padded, panel, ready, rounded_up

import torch
from torch import Tensor


class _Transform(ctypes.Structure):
    _fields_ = binding.fields(
        "batch height width in_channels hidden groups out_channels residual keep_mix ffn_hidden",
        "attentions x y mix exp_weight exp_bias dw_weight dw_bias pw_weight pw_bias norm1_weight norm1_bias "
        "hidden_weight hidden_bias out_weight out_bias norm2_weight norm2_bias",
    )


class _Gradients(ctypes.Structure):
    _fields_ = binding.fields(
        "",
        "y mix attentions x depthwise exp_back pw_back hidden_back out_back "
        "exp_weight exp_bias dw_weight dw_bias pw_weight pw_bias norm1_weight norm1_bias "
        "hidden_weight hidden_bias out_weight out_bias norm2_weight norm2_bias",
    )


@torch.library.custom_op("ramit::mix", mutates_args=())
def mix(x: Tensor, exp: Sequence[Tensor], dw: Sequence[Tensor], pw: Sequence[Tensor], groups: int) -> Tensor:
    """MobiVari.

    Args:
        x: (B, H, W, C), float32 or bfloat16; H and W multiples of 8.
        exp: Weight (E, C / groups) and bias (E) of the expanding convolution; nothing for version 1.
        dw: Weight (E, 1, 3, 3) and bias (E) of the depthwise convolution; E = C for version 1.
        pw: Weight (C', E) and bias (C') of the pointwise convolution.
        groups: Of the expanding convolution; 0 for version 1.

    Returns:
        (B, H, W, C')
    """
    y = x.new_empty(*x.shape[:3], len(pw[0]))
    _run(x.contiguous(), exp, dw, pw, groups, mixed=y)
    return y


@mix.register_fake
def _(x: Tensor, exp: Any, dw: Any, pw: Sequence[Tensor], groups: int) -> Tensor:
    return x.new_empty(*x.shape[:3], len(pw[0]))


@torch.library.custom_op("ramit::transform", mutates_args=())
def transform(
    attentions: Tensor,
    x: Tensor,
    exp: Sequence[Tensor],
    dw: Sequence[Tensor],
    pw: Sequence[Tensor],
    groups: int,
    norms_and_ffn: Sequence[Tensor],
    keep_mix: bool,
) -> tuple[Tensor, Tensor]:
    """What follows the attentions in a block: MobiVari, norm, feed-forward network, norm.

    Args:
        attentions: (B, H, W, C)
        x: The block's input, (B, H, W, C).
        exp: As in `mix`, like `dw`, `pw` and `groups`.
        dw: See `exp`.
        pw: See `exp`.
        groups: See `exp`.
        norms_and_ffn: Weight and bias of the first norm (C), of the hidden layer (E', C), of the output layer (C, E'),
            of the second norm.
        keep_mix: Whether the result of MobiVari is wanted.

    Returns:
        The block's output, and the result of MobiVari (empty unless wanted), each (B, H, W, C).
    """
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    mixed = torch.empty_like(y) if keep_mix else y.new_empty(0)
    # Under autocast, attentions may be bfloat16 where the block's input is not.
    attentions = attentions.to(x.dtype).contiguous()
    _run(attentions, exp, dw, pw, groups, norms_and_ffn, x=x.contiguous(), y=y, mixed=mixed)
    return y, mixed


@transform.register_fake
def _(attentions: Tensor, x: Tensor, exp: Any, dw: Any, pw: Any, groups: int, rest: Any, keep_mix: bool) -> Any:
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    return y, torch.empty_like(y) if keep_mix else y.new_empty(0)


def _run(source: Tensor, *weights: Any, **maps: Any) -> None:
    structure, kept = _structure(source, *weights, **maps)
    call(f"transform_{SUFFIXES[source.dtype]}", structure, torch.get_num_threads())
    del kept


def _structure(
    source: Tensor,
    exp: Sequence[Tensor],
    dw: Sequence[Tensor],
    pw: Sequence[Tensor],
    groups: int,
    rest: Sequence[Tensor] = (),
    *,
    x: Tensor | None = None,
    y: Tensor | None = None,
    mixed: Tensor | None = None,
) -> tuple[ctypes.Structure, list[Tensor | None]]:
    """What the kernels are told; `rest` is `norms_and_ffn`, nothing for MobiVari alone."""
    batch, height, width, channels = source.shape
    expanded, out = len(dw[0]), len(pw[0])
    wide: list[Tensor | None] = [None, None]
    if groups:
        weight, bias = exp
        wide = [padded(weight.float().view(groups, expanded // groups, -1).mT), padded(bias.view(groups, -1)).flatten()]
    ffn: list[Tensor | None] = [None] * 8
    if rest:
        norm1_weight, norm1_bias, hidden_weight, hidden_bias, out_weight, out_bias, norm2_weight, norm2_bias = rest
        layers = [panel(hidden_weight), padded(hidden_bias), panel(out_weight), padded(out_bias)]
        ffn = [padded(norm1_weight), padded(norm1_bias), *layers, padded(norm2_weight), padded(norm2_bias)]
    sizes = [batch, height, width, channels, expanded, groups, out, channels == out]
    return binding.structure(
        _Transform,
        [*sizes, mixed is not None and mixed.numel() > 0, len(rest[2]) if rest else 0],
        [source, x, y, mixed],
        [*wide, panel(dw[0].flatten(1)), padded(dw[1]), panel(pw[0]), padded(pw[1]), *ffn],
    )


# Gradients ------------------------------------------------------------------------------------------------------------


@torch.library.custom_op("ramit::transform_backward", mutates_args=())
def transform_backward(
    dy: Tensor | None,
    dmix: Tensor,
    source: Tensor,
    x: Tensor | None,
    exp: Sequence[Tensor],
    dw: Sequence[Tensor],
    pw: Sequence[Tensor],
    groups: int,
    rest: Sequence[Tensor],
) -> list[Tensor]:
    """The gradients of `transform`, or of `mix`, from those of its outputs.

    Args:
        dy: Of the block's output; None for MobiVari alone.
        dmix: Of the result of MobiVari; empty where that was not wanted.
        source: Input of MobiVari.
        x: The block's input; None for MobiVari alone.
        exp: As in `mix`, like `dw`, `pw` and `groups`.
        dw: See `exp`.
        pw: See `exp`.
        groups: See `exp`.
        rest: `norms_and_ffn` of `transform`; nothing for MobiVari alone.

    Returns:
        Of `source`, of `x` if there is one, and of all weights.
    """
    wide_source = source.float().contiguous()
    wide_x, wide_dy, wide_dmix = map(ready, (x, dy, dmix if dmix.numel() else None))
    threads = torch.get_num_threads()
    structure, (_, _, _, _, *layers) = _structure(wide_source, exp, dw, pw, groups, rest, x=wide_x)
    layers_back = [exp[0] if exp else None, pw[0], *((rest[2], rest[4]) if rest else (None, None))]
    transposed = [None if weight is None else ready(padded(weight)) for weight in layers_back]
    sums = [None if layer is None else _blank(layer, threads) for layer in layers]  # each thread adds up its own
    dsource = torch.empty_like(wide_source)
    dx = None if wide_x is None else torch.empty_like(wide_x)
    work = wide_source.new_empty(*source.shape[:3], rounded_up(len(dw[0])))
    gradients = _Gradients(*map(address, (wide_dy, wide_dmix, dsource, dx, work, *transposed, *sums)))
    call("transform_backward", structure, gradients, threads)
    totals = iter([each.sum(0) for each in sums if each is not None])
    dexp = [_original(next(totals), weight, groups) for weight in exp]
    others = [_original(next(totals), weight, 1) for weight in (*dw, *pw, *rest)]
    computed = [dsource, *([] if dx is None else [dx]), *dexp, *others]
    return [each.to(like.dtype) for each, like in zip(computed, _inputs(source, x, exp, dw, pw, rest), strict=True)]


@transform_backward.register_fake
def _(dy: Any, dmix: Any, source: Tensor, x: Tensor | None, exp: Any, dw: Any, pw: Any, groups: int, rest: Any) -> Any:
    return [
        torch.empty_like(each, memory_format=torch.contiguous_format) for each in _inputs(source, x, exp, dw, pw, rest)
    ]


def _inputs(source: Tensor, x: Tensor | None, *weights: Sequence[Tensor]) -> list[Tensor]:
    return [source, *([] if x is None else [x]), *(weight for part in weights for weight in part)]


def _blank(layer: Tensor, threads: int) -> Tensor:
    """Zeros for the gradients of a weight as the kernel has it, which pads rows, too."""
    *sizes, columns = layer.shape
    if sizes:
        sizes[-1] = rounded_up(sizes[-1])
    return layer.new_zeros(threads, *sizes, columns)


def _original(total: Tensor, weight: Tensor, groups: int) -> Tensor:
    """The gradient of a weight from that of its form in the kernel: in groups, (in, out), padded."""
    out = len(weight) // groups
    if weight.ndim == 1:
        return total.view(groups, -1)[:, :out].flatten()
    inputs = weight[0].numel()
    return total.view(groups, -1, total.shape[-1])[:, :inputs, :out].mT.reshape(weight.shape).contiguous()


def _keep_mix_inputs(ctx: Any, inputs: Any, output: Any) -> None:
    x, exp, dw, pw, ctx.groups = inputs
    ctx.save_for_backward(x, *exp, *dw, *pw)


def _mix_backward(ctx: Any, dmix: Tensor) -> Any:
    x, *weights = ctx.saved_tensors
    exp, dw, pw, _ = _parts(weights, ctx.groups)
    dx, *found = transform_backward(None, dmix, x, None, exp, dw, pw, ctx.groups, [])
    return dx, *_parts(found, ctx.groups)[:3], None


def _keep_transform_inputs(ctx: Any, inputs: Any, output: Any) -> None:
    attentions, x, exp, dw, pw, ctx.groups, rest, _ = inputs
    ctx.save_for_backward(attentions, x, *exp, *dw, *pw, *rest)


def _transform_backward(ctx: Any, dy: Tensor, dmix: Tensor) -> Any:
    attentions, x, *weights = ctx.saved_tensors
    exp, dw, pw, rest = _parts(weights, ctx.groups)
    dattentions, dx, *found = transform_backward(dy, dmix, attentions, x, exp, dw, pw, ctx.groups, rest)
    exp, dw, pw, rest = _parts(found, ctx.groups)
    return dattentions, dx, exp, dw, pw, None, rest, None


def _parts(weights: Sequence[Tensor], groups: int) -> list[list[Tensor]]:
    """Weights of the expanding, the depthwise and the pointwise convolution, and of the rest of a block."""
    a = 2 if groups else 0
    return [list(weights[part]) for part in (slice(a), slice(a, a + 2), slice(a + 2, a + 4), slice(a + 4, None))]


mix.register_autograd(_mix_backward, setup_context=_keep_mix_inputs)
transform.register_autograd(_transform_backward, setup_context=_keep_transform_inputs)
