"""Spatial attention with gradients on a CPU: PyTorch operators around the C++ kernels of training.cpp."""

import ctypes
from typing import Any

from ramit_arch.kernels.cpu import binding
from ramit_arch.kernels.cpu.binding import MOST_HEAD_DIM, address, call, ready
from ramit_arch.kernels.cpu.library import library

import torch
from torch import Tensor

TOKENS = 64
"""Of a window. As in vectors.h, where it is PIXELS."""


class _Attention(ctypes.Structure):
    _fields_ = binding.fields("windows heads head_dim row", "qkv gate scale bias y")


class _Gradients(ctypes.Structure):
    _fields_ = binding.fields("", "y qkv gate scale bias")


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
        and head_dim <= MOST_HEAD_DIM
        and not torch.compiler.is_exporting()
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
    y: Tensor = _window_attention(qkv, gate, scale, bias, head_dim)
    return y


@torch.library.custom_op("ramit::window_attention", mutates_args=())
def _window_attention(qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, head_dim: int) -> Tensor:
    y = qkv.new_empty(*qkv.shape[:2], len(scale) * head_dim, dtype=torch.float32)
    attention, kept = _structure(qkv, gate, scale, bias, head_dim, y)
    call("window_attention_forward", attention, torch.get_num_threads())
    del kept
    return y


@_window_attention.register_fake
def _(qkv: Tensor, gate: Any, scale: Tensor, bias: Any, head_dim: int) -> Tensor:
    return qkv.new_empty(*qkv.shape[:2], scale.shape[0] * head_dim, dtype=torch.float32)


@torch.library.custom_op("ramit::window_attention_backward", mutates_args=())
def _window_attention_backward(
    dy: Tensor, qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, head_dim: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of qkv, gate (empty where there is none), scale and bias."""
    threads = torch.get_num_threads()
    attention, kept = _structure(qkv, gate, scale, bias, head_dim, None)
    dy = dy.float().contiguous()
    dqkv = torch.empty(qkv.shape)
    dgate = None if gate is None else torch.empty(gate.shape)
    dscale = torch.zeros(threads, *scale.shape, dtype=torch.float64)
    dbias = torch.zeros(threads, *bias.shape)
    call("window_attention_backward", attention, _Gradients(*map(address, (dy, dqkv, dgate, dscale, dbias))), threads)
    del kept
    return (
        dqkv.to(qkv.dtype),
        scale.new_empty(0) if gate is None or dgate is None else dgate.to(gate.dtype),
        dscale.sum(0).to(scale.dtype),
        dbias.sum(0).mT.to(bias.dtype).contiguous(),
    )


@_window_attention_backward.register_fake
def _(dy: Any, qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, head_dim: int) -> Any:
    like = (qkv, scale.new_empty(0) if gate is None else gate, scale, bias)
    return tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in like)


def _structure(
    qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, head_dim: int, y: Tensor | None
) -> tuple[ctypes.Structure, list[Tensor | None]]:
    # Under autocast some of them may be bfloat16. The kernel has the bias as keys by queries.
    windows, _, row = qkv.shape
    tensors = [*map(ready, (qkv, gate, scale, bias.mT)), y]
    return _Attention(windows, len(scale), head_dim, row, *map(address, tensors)), tensors


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    qkv, gate, scale, bias, ctx.head_dim = inputs
    ctx.save_for_backward(qkv, gate, scale, bias)


def _backward(ctx: Any, dy: Tensor) -> Any:
    dqkv, dgate, dscale, dbias = _window_attention_backward(dy, *ctx.saved_tensors, ctx.head_dim)
    return dqkv, dgate if dgate.numel() else None, dscale, dbias, None


_window_attention.register_autograd(_backward, setup_context=_keep)


def _check_shapes(qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, head_dim: int) -> None:
    # The kernel would read and write beyond the ends.
    (windows, tokens, row), (heads,) = qkv.shape, scale.shape
    if (
        tokens != TOKENS
        or row < 3 * heads * head_dim
        or not heads
        or not 0 < head_dim <= MOST_HEAD_DIM
        or bias.shape != (heads, tokens, tokens)
        or (gate is not None and gate.shape != (windows, tokens, head_dim))
    ):
        shapes = [None if x is None else tuple(x.shape) for x in (qkv, gate, scale, bias)]
        raise ValueError(f"window_attention: qkv, gate, scale and bias of shapes {shapes} with head_dim {head_dim}")
