"""RAMiT's blocks on a CPU with gradients: the C++ kernels beside this file as functions that autograd knows."""

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

from ramit_arch.kernels import inference
from ramit_arch.kernels.library import library

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TOKENS = 64
"""Of a window. As in vectors.h, where it is PIXELS."""


class _Attention(ctypes.Structure):
    _fields_ = inference.fields("windows heads head_dim row", "qkv gate scale bias y")


class _Gradients(ctypes.Structure):
    _fields_ = inference.fields("", "y qkv gate scale bias")


class _TransformGradients(ctypes.Structure):
    _fields_ = inference.fields(
        "",
        "y mix attentions x depthwise exp_back pw_back hidden_back out_back "
        "exp_weight exp_bias dw_weight dw_bias pw_weight pw_bias norm1_weight norm1_bias "
        "hidden_weight hidden_bias out_weight out_bias norm2_weight norm2_bias",
    )


def fits(qkv: Tensor, head_dim: int) -> bool:
    """Whether `window_attention` can take queries, keys and values.

    Args:
        qkv: (windows, n, row), as for `window_attention`.
        head_dim: Channels d of a head.
    """
    return (
        qkv.device.type == "cpu"
        and qkv.dtype == torch.float32
        and qkv.shape[1] == TOKENS
        and head_dim <= inference.MOST_HEAD_DIM
        and not torch.compiler.is_compiling()
        and library() is not None
    )


def window_attention(
    qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, *, head_dim: int | None = None
) -> Tensor:
    """Cosine attention within windows: `softmax(scale * cos(q, k) + bias) (gate * v)`, head by head.

    Only qkv, gate, scale and bias are kept for the gradient; scores are computed anew. `fits` says whether this can be
    called.

    Args:
        qkv: Queries of all heads, then keys, then values, (windows, 64, row), row >= 3*L*d. Columns beyond are ignored;
            their gradient is zero.
        gate: (windows, 64, d) or None; multiplies the values of every head.
        scale: (L)
        bias: (L, 64, 64), queries by keys.
        head_dim: Channels d of a head, at most 64. Unless given, it is that of the gate; without a gate, qkv has no
            other columns: row / (3 L).

    Returns:
        (windows, 64, L*d), float32

    Raises:
        ValueError: The shapes do not match each other, or the kernel.
    """
    if head_dim is None:
        head_dim = qkv.shape[-1] // (3 * len(scale)) if gate is None else gate.shape[-1]
    _check_shapes(qkv, gate, scale, bias, head_dim)
    y: Tensor = _WindowAttention.apply(qkv, gate, scale, bias, head_dim)
    return y


class _WindowAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, head_dim: int) -> Tensor:
        # Under autocast some of them may be bfloat16; autograd gives each gradient the type of its input.
        qkv, scale = qkv.float().contiguous(), scale.float().contiguous()
        gate = None if gate is None else gate.float().contiguous()
        bias = bias.float().transpose(1, 2).contiguous()  # keys by queries
        y = qkv.new_empty(*qkv.shape[:2], len(scale) * head_dim)
        attention = _attention(qkv, gate, scale, bias, head_dim, y)
        _kernel("window_attention_forward")(ctypes.byref(attention), torch.get_num_threads())
        ctx.save_for_backward(qkv, gate, scale, bias)
        ctx.head_dim = head_dim
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor, None]:
        qkv, gate, scale, bias = ctx.saved_tensors
        threads = torch.get_num_threads()
        dy = dy.contiguous()
        dqkv = torch.empty_like(qkv)
        dgate = None if gate is None else torch.empty_like(gate)
        dscale = scale.new_zeros(threads, *scale.shape, dtype=torch.float64)
        dbias = bias.new_zeros(threads, *bias.shape)
        attention = _attention(qkv, gate, scale, bias, ctx.head_dim, None)
        gradients = _Gradients(*map(_address, (dy, dqkv, dgate, dscale, dbias)))
        _kernel("window_attention_backward")(ctypes.byref(attention), ctypes.byref(gradients), threads)
        return dqkv, dgate, dscale.sum(0).float(), dbias.sum(0).transpose(1, 2), None


def _check_shapes(qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, head_dim: int) -> None:
    # The kernel would read and write beyond the ends.
    (windows, tokens, row), (heads,) = qkv.shape, scale.shape
    if (
        tokens != TOKENS
        or row < 3 * heads * head_dim
        or not heads
        or not 0 < head_dim <= inference.MOST_HEAD_DIM
        or bias.shape != (heads, tokens, tokens)
        or (gate is not None and gate.shape != (windows, tokens, head_dim))
    ):
        shapes = [None if x is None else tuple(x.shape) for x in (qkv, gate, scale, bias)]
        raise ValueError(f"window_attention: qkv, gate, scale and bias of shapes {shapes} with head_dim {head_dim}")


def _attention(
    qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, head_dim: int, y: Tensor | None
) -> _Attention:
    windows, _, row = qkv.shape
    return _Attention(windows, len(scale), head_dim, row, *map(_address, (qkv, gate, scale, bias, y)))


def _wide(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.float().contiguous()


def _address(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


def _kernel(name: str) -> Any:
    kernels = library()
    if kernels is None:
        raise RuntimeError("There is no compiled kernel for this processor: ask fits() or fits_map() first.")
    return getattr(kernels, name)


def fits_map(x: Tensor, *channels: int, side: int = inference.SIDE) -> bool:
    """Whether `mix` and `transform` can take a map. Arguments as for `inference.fits`."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling() and inference.known(x, *channels, side=side)


def mix(x: Tensor, exp: Sequence[Tensor], dw: Sequence[Tensor], pw: Sequence[Tensor], groups: int) -> Tensor:
    """As `inference.mix`, with gradients."""
    _, mixed = _Transform.apply(x, None, groups, True, *exp, *dw, *pw)
    return mixed


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
    """As `inference.transform`, with gradients.

    Only inputs and weights are kept for the gradients; all else is computed anew.
    """
    y, mixed = _Transform.apply(attentions, x, groups, keep_mix, *exp, *dw, *pw, *norms_and_ffn)
    return y, mixed


class _Transform(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, source: Tensor, x: Tensor | None, groups: int, keep_mix: bool, *weights: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(source, x, *weights)
        ctx.groups = groups
        ctx.set_materialize_grads(False)
        exp, dw, pw, rest = _parts(weights, groups)
        if x is None:
            return None, inference.mix(source, exp, dw, pw, groups)
        y, mixed = inference.transform(source, x, exp, dw, pw, groups, rest, keep_mix)
        if not keep_mix:
            ctx.mark_non_differentiable(mixed)
        return y, mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dmix: Tensor | None) -> tuple[Tensor | None, ...]:
        source, x, *weights = ctx.saved_tensors
        source, x = source.float().contiguous(), _wide(x)
        threads = torch.get_num_threads()
        with torch.enable_grad():
            leaves = [weight.detach().requires_grad_() for weight in weights]
            exp, dw, pw, rest = _parts(leaves, ctx.groups)
            structure, (_, _, _, _, *layers) = inference.transform_structure(source, exp, dw, pw, ctx.groups, rest, x=x)
        backward_weights = [exp[0] if exp else None, pw[0], *((rest[2], rest[4]) if rest else (None, None))]
        transposed = [None if weight is None else _wide(inference.padded(weight)) for weight in backward_weights]
        sums = [None if layer is None else _blank(layer, threads) for layer in layers]  # each thread adds up its own
        dsource = torch.empty_like(source)
        dy, dmix = _wide(dy), _wide(dmix)
        dx = None if dy is None or x is None else torch.empty_like(x)
        work = source.new_empty(*source.shape[:3], inference.rounded_up(len(dw[0])))
        gradients = _TransformGradients(*map(_address, (dy, dmix, dsource, dx, work, *transposed, *sums)))
        _kernel("transform_backward")(ctypes.byref(structure), ctypes.byref(gradients), threads)
        # The weights' way into the kernel, backward.
        taken = [layer for layer in layers if layer is not None]
        totals = [_total(each, layer) for each, layer in zip((x for x in sums if x is not None), taken, strict=True)]
        return dsource, dx, None, None, *torch.autograd.grad(taken, leaves, totals)


def _parts(weights: Sequence[Tensor], groups: int) -> Iterator[Sequence[Tensor]]:
    """Weights of the expanding, the depthwise and the pointwise convolution, and of the rest of a block."""
    a = 2 if groups else 0
    return (weights[part] for part in (slice(a), slice(a, a + 2), slice(a + 2, a + 4), slice(a + 4, None)))


def _blank(layer: Tensor, threads: int) -> Tensor:
    """Zeros for the gradients of a weight as the kernel has it, which pads its rows."""
    *sizes, columns = layer.shape
    if sizes:
        sizes[-1] = inference.rounded_up(sizes[-1])
    return layer.new_zeros(threads, *sizes, columns)


def _total(sums: Tensor, layer: Tensor) -> Tensor:
    """What `_blank` made, added up over the threads and cut to the weight."""
    total = sums.sum(0)
    return total if layer.ndim == 1 else total[..., : layer.shape[-2], :]
