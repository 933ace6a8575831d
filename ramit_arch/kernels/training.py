"""Spatial attention with gradients on a CPU: the C++ kernel of training.cpp as a function that autograd knows."""

import ctypes
from typing import Any

from ramit_arch.kernels.library import library

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TOKENS = 64
"""Of a window. As in vectors.h, where it is PIXELS."""

MOST_HEAD_DIM = 32
"""Channels of a head that the kernel has working memory for."""


class _Attention(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int) for name in ("windows", "heads", "head_dim", "row")),
        *((name, ctypes.c_void_p) for name in ("qkv", "gate", "scale", "bias", "y")),
    )


class _Gradients(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in ("y", "qkv", "gate", "scale", "bias"))


def fits(qkv: Tensor, head_dim: int) -> bool:
    """Whether the kernel can take queries, keys and values.

    Args:
        qkv: (windows, n, row), as for `window_attention`.
        head_dim: Channels d of a head.
    """
    return (
        qkv.device.type == "cpu"
        and qkv.dtype == torch.float32
        and qkv.shape[1] == TOKENS
        and head_dim <= MOST_HEAD_DIM
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
        head_dim: Channels d of a head, at most 32. Unless given, it is that of the gate; without a gate, qkv has no
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
        or not 0 < head_dim <= MOST_HEAD_DIM
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


def _address(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


def _kernel(name: str) -> Any:
    kernels = library()
    if kernels is None:
        raise RuntimeError("There is no compiled kernel for this processor: ask fits() before window_attention().")
    return getattr(kernels, name)
