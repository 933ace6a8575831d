"""Cosine attention within windows as two Triton kernels, forward and backward. They have never been run on a GPU."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16)

SMALLEST_NORM = tl.constexpr(1e-12)
"""Shorter queries and keys are divided by this."""

FORWARD_PROGRAMS = 4
BACKWARD_PROGRAMS = 2
"""Programs a head and multiprocessor: enough to keep it busy, few enough that partial sums stay small."""


def window_attention(
    qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, *, head_dim: int | None = None
) -> Tensor:
    """Cosine attention within windows: `softmax(scale * cos(q, k) + bias) (gate * v)`, head by head.

    Lengths, scores and softmax are float32 whatever the type of qkv.

    Args:
        qkv: Queries of all heads, then keys, then values, then columns that are ignored, (windows, n, 3*L*d + ignored);
            contiguous; float32, float16 or bfloat16; n is a power of two, at least 16.
        gate: (windows, n, d) or None; multiplies the values of every head.
        scale: (L)
        bias: (L, n, n)
        head_dim: Channels d of a head. Without it, d is that of the gate; without a gate, no columns are ignored.

    Returns:
        (windows, n, L*d), of qkv's type.

    Raises:
        ValueError: An argument has a shape, type or layout that the kernels cannot take.
    """
    heads, row = len(scale), qkv.shape[-1]
    if head_dim is None:
        head_dim = row // (3 * heads) if gate is None else gate.shape[-1]
        if gate is None and row % (3 * heads):
            raise ValueError(f"window_attention: {row} columns are no queries, keys and values of {heads} heads")
    _check(qkv, gate, heads, bias, head_dim)
    gate = None if gate is None else gate.contiguous()
    y: Tensor = _WindowAttention.apply(qkv, gate, scale.float().contiguous(), bias.float().contiguous(), head_dim)
    return y


def _check(qkv: Tensor, gate: Tensor | None, heads: int, bias: Tensor, head_dim: int) -> None:
    windows, tokens, row = qkv.shape
    if qkv.dtype not in DTYPES or not qkv.is_contiguous():
        raise ValueError("window_attention: qkv must be contiguous float32, float16 or bfloat16")
    if tokens < 16 or tokens & (tokens - 1):
        raise ValueError(f"window_attention: a window has {tokens} tokens; give a power of two, at least 16")
    if row < 3 * heads * head_dim:
        raise ValueError(f"window_attention: qkv has {row} columns; {heads} heads of {head_dim} need more")
    if bias.shape != (heads, tokens, tokens):
        raise ValueError(f"window_attention: bias is {tuple(bias.shape)}; give {(heads, tokens, tokens)}")
    if gate is not None and gate.shape != (windows, tokens, head_dim):
        raise ValueError(f"window_attention: gate is {tuple(gate.shape)}; give {(windows, tokens, head_dim)}")


def programs(tasks: int, device: torch.device, per_multiprocessor: int) -> int:
    """How many programs share some tasks: as few as make the longest share no longer than a full GPU makes it."""
    most = 2  # on a CPU, where Triton's interpreter runs one after the other
    if device.type == "cuda":
        most = torch.cuda.get_device_properties(device).multi_processor_count * per_multiprocessor
    longest_share = max(triton.cdiv(tasks, most), 1)
    return triton.cdiv(tasks, longest_share)


class _WindowAttention(torch.autograd.Function):
    """`window_attention`, which saves its arguments alone and computes all else anew for its gradient."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, head_dim: int) -> Tensor:
        windows, tokens, row = qkv.shape
        y = qkv.new_empty(windows, tokens, len(scale) * head_dim)
        constants = _constants(tokens, head_dim, qkv.dtype)
        grid = programs(windows, qkv.device, FORWARD_PROGRAMS), len(scale)
        _forward[grid](qkv, gate, scale, bias, y, windows, row, **constants)
        ctx.save_for_backward(qkv, gate, scale, bias)
        ctx.constants = constants
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor, None]:
        qkv, gate, scale, bias = ctx.saved_tensors
        windows, tokens, row = qkv.shape
        heads = len(scale)
        grid = programs(windows, qkv.device, BACKWARD_PROGRAMS), heads
        d_qkv = torch.empty_like(qkv)
        d_qkv[..., 3 * gradient.shape[-1] :] = 0
        # Heads share a gate. Atomic sums would need float32 and come out differently each time; a program for all
        # heads of a window would leave most of the GPU idle. So each head writes its share.
        d_gates = None if gate is None else gate.new_empty(windows, tokens, gradient.shape[-1])
        # All windows share scale and bias: each program sums over its own in registers.
        d_scales, d_biases = scale.new_empty(grid), bias.new_empty(grid[0], *bias.shape)
        _backward[grid](
            qkv, gate, scale, bias, gradient.contiguous(), d_qkv, d_gates, d_scales, d_biases, windows, row,
            **ctx.constants,
        )  # fmt: skip
        d_gate = None if d_gates is None else d_gates.unflatten(-1, (heads, -1)).sum(2)
        return d_qkv, d_gate, d_scales.sum(0), d_biases.sum(0), None


def _constants(tokens: int, head_dim: int, dtype: torch.dtype) -> dict[str, Any]:
    """What the kernels are compiled for."""
    tf32 = torch.backends.cuda.matmul.allow_tf32
    # Scores that a thread holds. Float32 products without tensor cores need more registers.
    scores = 16 if dtype == torch.float32 and not tf32 else 32
    return {
        "tokens": tokens,
        "head_dim": head_dim,
        "padded_dim": max(16, triton.next_power_of_2(head_dim)),
        "precision": "tf32" if tf32 else "ieee",
        "num_warps": min(max(tokens * tokens // (32 * scores), 1), 16),
        "num_stages": 2,
    }


@triton.jit
def _inverse_length(x: tl.tensor) -> tl.tensor:
    """1 over the length of each row: (n, d) -> float32 (n)."""
    x = x.to(tl.float32)
    return tl.rsqrt(tl.maximum(tl.sum(x * x, 1), SMALLEST_NORM * SMALLEST_NORM))


@triton.jit
def _exponentials(
    q: tl.tensor,
    k: tl.tensor,
    q_factor: tl.tensor,
    k_factor: tl.tensor,
    bias: tl.tensor,
    precision: tl.constexpr,
) -> tl.tensor:
    """A softmax before its division by the sums of its rows: (n, d), (n, d), (n), (n), (n, n) -> (n, n)."""
    # Normalised after their product, queries and keys need not be rounded to their type again.
    scores = tl.dot(q, tl.trans(k), input_precision=precision) * q_factor[:, None] * k_factor[None, :] + bias
    return tl.exp(scores - tl.max(scores, 1)[:, None])


@triton.jit
def _gated(v: tl.tensor, gate: tl.tensor) -> tl.tensor:
    return (v.to(tl.float32) * gate.to(tl.float32)).to(v.dtype)


@triton.jit(do_not_specialize=["windows"])
def _forward(
    qkv: tl.tensor,
    gate: tl.tensor | None,
    scale: tl.tensor,
    bias: tl.tensor,
    y: tl.tensor,
    windows: int,
    row: int,
    tokens: tl.constexpr,
    head_dim: tl.constexpr,
    padded_dim: tl.constexpr,
    precision: tl.constexpr,
) -> None:
    """One head of a share of the windows; the grid is (programs, L). Tensors are as in `window_attention`."""
    head = tl.program_id(1)
    width = tl.num_programs(1) * head_dim
    token, channel = tl.arange(0, tokens)[:, None], tl.arange(0, padded_dim)[None, :]
    column = head * head_dim + channel
    mask = channel < head_dim
    head_scale = tl.load(scale + head)
    head_bias = tl.load(bias + (head * tokens + token) * tokens + tl.arange(0, tokens)[None, :])

    # Images of many windows have more elements than 32 bits can count.
    for window in range(tl.program_id(0).to(tl.int64), windows, tl.num_programs(0)):
        pixel = window * tokens + token
        place = qkv + pixel * row + column
        q = tl.load(place, mask=mask, other=0.0)
        k = tl.load(place + width, mask=mask, other=0.0)
        v = tl.load(place + 2 * width, mask=mask, other=0.0)
        if gate is not None:
            v = _gated(v, tl.load(gate + pixel * head_dim + channel, mask=mask, other=0.0))
        e = _exponentials(q, k, head_scale * _inverse_length(q), _inverse_length(k), head_bias, precision)
        attended = tl.dot(e.to(v.dtype), v, input_precision=precision) / tl.sum(e, 1)[:, None]
        tl.store(y + pixel * width + column, attended.to(v.dtype), mask=mask)


@triton.jit
def _through_length(x: tl.tensor, factor: tl.tensor, d_unit: tl.tensor, along: tl.tensor) -> tl.tensor:
    """From the gradient of rows of length 1 to that of rows x, (n, d).

    `factor` is 1 over the length and `along` the product of unit row and its gradient, both (n).
    """
    # Rows so short that their length was bounded are merely multiplied; the bound is known up to rounding.
    along = tl.where(factor * SMALLEST_NORM < 0.999, along, 0.0)
    return factor[:, None] * (d_unit - x * along[:, None])


@triton.jit(do_not_specialize=["windows"])
def _backward(
    qkv: tl.tensor,
    gate: tl.tensor | None,
    scale: tl.tensor,
    bias: tl.tensor,
    d_y: tl.tensor,
    d_qkv: tl.tensor,
    d_gates: tl.tensor | None,
    d_scales: tl.tensor,
    d_biases: tl.tensor,
    windows: int,
    row: int,
    tokens: tl.constexpr,
    head_dim: tl.constexpr,
    padded_dim: tl.constexpr,
    precision: tl.constexpr,
) -> None:
    """The gradients of `_forward`, on a grid of the same meaning.

    d_gates (windows, n, L*d) holds each head's share; d_scales (programs, L) and d_biases (programs, L, n, n) hold
    each program's sum.
    """
    program, head = tl.program_id(0), tl.program_id(1)
    heads = tl.num_programs(1)
    width = heads * head_dim
    token, channel = tl.arange(0, tokens)[:, None], tl.arange(0, padded_dim)[None, :]
    column = head * head_dim + channel
    mask = channel < head_dim
    pair = token * tokens + tl.arange(0, tokens)[None, :]
    head_scale = tl.load(scale + head)
    d_bias = tl.zeros([tokens, tokens], tl.float32)
    d_scale = tl.zeros([tokens], tl.float32)

    for window in range(program.to(tl.int64), windows, tl.num_programs(0)):
        pixel = window * tokens + token
        place = qkv + pixel * row + column
        q = tl.load(place, mask=mask, other=0.0)
        k = tl.load(place + width, mask=mask, other=0.0)
        v = tl.load(place + 2 * width, mask=mask, other=0.0)
        d_out = tl.load(d_y + pixel * width + column, mask=mask, other=0.0)
        q_factor, k_factor = _inverse_length(q), _inverse_length(k)
        # Read anew for each window, the bias leaves its registers to the sum of its gradients.
        head_bias = tl.load(bias + head * tokens * tokens + pair)
        p = _exponentials(q, k, head_scale * q_factor, k_factor, head_bias, precision)
        p = p * (1.0 / tl.sum(p, 1))[:, None]

        target = d_qkv + pixel * row + column
        d_v = tl.dot(tl.trans(p.to(v.dtype)), d_out, input_precision=precision)
        if gate is not None:
            g = tl.load(gate + pixel * head_dim + channel, mask=mask, other=0.0)
            share = d_v * v.to(tl.float32)
            tl.store(d_gates + pixel * width + column, share.to(g.dtype), mask=mask)
            d_v = d_v * g.to(tl.float32)
            v = _gated(v, g)
        tl.store(target + 2 * width, d_v.to(v.dtype), mask=mask)

        d_p = tl.dot(d_out, tl.trans(v), input_precision=precision)
        d_score = p * (d_p - tl.sum(p * d_p, 1)[:, None])
        d_bias += d_score
        rounded = d_score.to(v.dtype)
        unit_q, unit_k = q.to(tl.float32) * q_factor[:, None], k.to(tl.float32) * k_factor[:, None]
        d_unit_q = tl.dot(rounded, unit_k.to(v.dtype), input_precision=precision)
        d_unit_k = tl.dot(tl.trans(rounded), unit_q.to(v.dtype), input_precision=precision)
        along_q, along_k = tl.sum(unit_q * d_unit_q, 1), tl.sum(unit_k * d_unit_k, 1)
        d_scale += along_q
        d_q = _through_length(unit_q, q_factor, d_unit_q, along_q) * head_scale
        d_k = _through_length(unit_k, k_factor, d_unit_k, along_k) * head_scale
        tl.store(target, d_q.to(v.dtype), mask=mask)
        tl.store(target + width, d_k.to(v.dtype), mask=mask)

    place = program * heads + head
    tl.store(d_scales + place, tl.sum(d_scale, 0))
    tl.store(d_biases + place.to(tl.int64) * tokens * tokens + pair, d_bias)
