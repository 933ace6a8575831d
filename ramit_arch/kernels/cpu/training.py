"""Attention within windows on a CPU, with gradients, by the C++ kernels of window_attention.cpp."""

from typing import Any

import torch
from torch import Tensor

from ramit_arch.kernels.cpu import abi
from ramit_arch.kernels.cpu.binding import available, call, compiled, contiguous_float32, pack
from ramit_arch.kernels.cpu.operators import operator


def is_supported(qkv: Tensor, head_dim: int) -> bool:
    """Whether `window_attention` can compute with these queries, keys and values.

    Args:
        qkv: As for `window_attention`, (windows, n, row).
        head_dim: Channels d of a head.
    """
    kernels = available(qkv)
    return (
        kernels is not None
        and qkv.dtype == torch.float32
        and qkv.shape[1] == kernels.limits.window_size**2
        and head_dim <= kernels.limits.max_head_dim
    )


def window_attention(
    qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, *, head_dim: int | None = None
) -> Tensor:
    """Cosine attention within windows: `softmax(scale * cos(q, k) + bias) (gate * v)`, head by head.

    Only qkv, gate, scale and bias are kept for the gradient; scores are recomputed. `is_supported` says whether
    this can be called.

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
    y: Tensor = _window_attention(qkv, gate, scale, bias, head_dim)
    return y


@operator(differentiable=True)
def _window_attention(qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, head_dim: int) -> Tensor:
    y = qkv.new_empty(*qkv.shape[:2], len(scale) * head_dim, dtype=torch.float32)
    call("window_attention_forward", _structure(qkv, gate, scale, bias, head_dim, y))
    return y


@torch.library.register_fake("ramit::window_attention")
def _(qkv: Tensor, gate: Any, scale: Tensor, bias: Any, head_dim: int) -> Tensor:
    return qkv.new_empty(*qkv.shape[:2], scale.shape[0] * head_dim, dtype=torch.float32)


@operator()
def _window_attention_backward(
    dy: Tensor, qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, head_dim: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of qkv, gate (empty if there is none), scale and bias."""
    threads = torch.get_num_threads()
    dqkv = torch.empty(qkv.shape)
    dgate = None if gate is None else torch.empty(gate.shape)
    dscale = torch.zeros(threads, *scale.shape, dtype=torch.float64)
    dbias = torch.zeros(threads, *bias.shape)
    gradients = pack(
        abi.WindowAttentionGradients, y=contiguous_float32(dy), qkv=dqkv, gate=dgate, scale=dscale, bias=dbias
    )
    call("window_attention_backward", _structure(qkv, gate, scale, bias, head_dim, None), gradients)
    return (
        dqkv.to(qkv.dtype),
        scale.new_empty(0) if gate is None or dgate is None else dgate.to(gate.dtype),
        dscale.sum(0).to(scale.dtype),
        dbias.sum(0).mT.to(bias.dtype).contiguous(),
    )


@torch.library.register_fake("ramit::window_attention_backward")
def _(dy: Any, qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, head_dim: int) -> Any:
    like = (qkv, scale.new_empty(0) if gate is None else gate, scale, bias)
    return tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in like)


def _structure(
    qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, head_dim: int, y: Tensor | None
) -> abi.Structure:
    return pack(
        abi.WindowAttention,
        windows=qkv.shape[0],
        heads=len(scale),
        head_dim=head_dim,
        row=qkv.shape[2],
        # Under autocast some of them may be bfloat16.
        qkv=contiguous_float32(qkv),
        gate=None if gate is None else contiguous_float32(gate),
        scale=contiguous_float32(scale),
        bias=contiguous_float32(bias.mT),
        y=y,
    )


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    qkv, gate, scale, bias, ctx.head_dim = inputs
    ctx.save_for_backward(qkv, gate, scale, bias)


def _backward(ctx: Any, dy: Tensor) -> Any:
    dqkv, dgate, dscale, dbias = _window_attention_backward(dy, *ctx.saved_tensors, ctx.head_dim)
    return dqkv, dgate if dgate.numel() else None, dscale, dbias, None


torch.library.register_autograd("ramit::window_attention", _backward, setup_context=_keep)


def _check_shapes(qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, head_dim: int) -> None:
    # The kernel would read and write beyond the ends.
    (windows, tokens, row), (heads,) = qkv.shape, scale.shape
    matching = (
        row >= 3 * heads * head_dim
        and heads > 0
        and head_dim > 0
        and bias.shape == (heads, tokens, tokens)
        and (gate is None or gate.shape == (windows, tokens, head_dim))
    )
    if matching:
        limits = compiled().limits
        matching = tokens == limits.window_size**2 and head_dim <= limits.max_head_dim
    if not matching:
        shapes = [None if x is None else tuple(x.shape) for x in (qkv, gate, scale, bias)]
        raise ValueError(f"window_attention: qkv, gate, scale and bias of shapes {shapes} with head_dim {head_dim}")
