"""Addition of a layer-normalised map as two Triton kernels, forward and backward. They have never been run on a GPU."""

from typing import Any

from ramit_arch.kernels.triton_attention import DTYPES, programs

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX_CHANNELS = 1024

BLOCK = 2048
"""Elements that a program has at a time: 16 a thread."""

FORWARD_PROGRAMS = 16
BACKWARD_PROGRAMS = 4
"""Programs a multiprocessor: enough to keep it busy, few enough that partial sums stay small."""


def add_norm(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """`x + LayerNorm(y)` over the last axis, with float32 statistics.

    Args:
        x: (..., C); float32, float16 or bfloat16; C is at most 1024.
        y: (..., C); float32, float16 or bfloat16.
        weight: (C)
        bias: (C)
        eps: Added to the variances.

    Returns:
        (..., C), of the wider type of x and y.

    Raises:
        ValueError: An argument has a shape or type that the kernels cannot take.
    """
    channels = y.shape[-1]
    if channels > MAX_CHANNELS:
        raise ValueError(f"add_norm: there are {channels} channels; give at most {MAX_CHANNELS}")
    if x.shape != y.shape or weight.shape != (channels,) or bias.shape != (channels,):
        shapes = ", ".join(str(tuple(t.shape)) for t in (x, y, weight, bias))
        raise ValueError(f"add_norm: {shapes} are not (..., C), (..., C), (C,), (C,)")
    if x.dtype not in DTYPES or y.dtype not in DTYPES:
        raise ValueError(f"add_norm: {x.dtype} and {y.dtype}; give float32, float16 or bfloat16")
    z: Tensor = _AddNorm.apply(x.contiguous(), y.contiguous(), weight.float(), bias.float(), eps)
    return z


class _AddNorm(torch.autograd.Function):
    """`add_norm`, which keeps of its arguments those that its gradient needs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        z = torch.empty_like(x, dtype=torch.promote_types(x.dtype, y.dtype))
        constants = _constants(y.shape[-1], eps)
        rows = y.numel() // y.shape[-1]
        blocks = triton.cdiv(rows, constants["block_rows"])
        _forward[(programs(blocks, y.device, FORWARD_PROGRAMS),)](x, y, weight, bias, z, rows, **constants)
        # Mean and deviation are not saved: the gradient has to read the whole of y, so they cost no traffic then.
        ctx.save_for_backward(y, weight)
        ctx.constants, ctx.x_dtype = constants, x.dtype
        return z

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        y, weight = ctx.saved_tensors
        rows = y.numel() // y.shape[-1]
        blocks = triton.cdiv(rows, ctx.constants["block_rows"])
        grid = (programs(blocks, y.device, BACKWARD_PROGRAMS),)
        d_y = torch.empty_like(y)
        d_parameters = weight.new_empty(2, *grid, y.shape[-1])
        _backward[grid](y, weight, gradient.contiguous(), d_y, *d_parameters, rows, **ctx.constants)
        return gradient.to(ctx.x_dtype), d_y, *d_parameters.sum(1), None


def _constants(channels: int, eps: float) -> dict[str, Any]:
    """What the kernels are compiled for."""
    padded = triton.next_power_of_2(channels)
    return {"channels": channels, "padded": padded, "block_rows": BLOCK // padded, "eps": eps, "num_warps": 4}


@triton.jit
def _normalised(
    y: tl.tensor, mask: tl.tensor, channels: tl.constexpr, eps: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """Rows of mean 0 and variance 1, and what they were multiplied with: (n, C) -> (n, C), (n, 1)."""
    centred = tl.where(mask, y - tl.sum(y, 1)[:, None] / channels, 0.0)
    factor = tl.rsqrt(tl.sum(centred * centred, 1)[:, None] / channels + eps)
    return centred * factor, factor


@triton.jit(do_not_specialize=["rows"])
def _forward(
    x: tl.tensor,
    y: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    z: tl.tensor,
    rows: int,
    channels: tl.constexpr,
    padded: tl.constexpr,
    block_rows: tl.constexpr,
    eps: tl.constexpr,
) -> None:
    """A share of the rows, block by block; the grid is (programs). Tensors are as in `add_norm`, with result z."""
    channel = tl.arange(0, padded)[None, :]
    there = channel < channels
    w = tl.load(weight + channel, mask=there, other=0.0)
    b = tl.load(bias + channel, mask=there, other=0.0)
    # Large maps have more elements than 32 bits can count.
    for block in range(tl.program_id(0).to(tl.int64), tl.cdiv(rows, block_rows), tl.num_programs(0)):
        row = block * block_rows + tl.arange(0, block_rows)[:, None]
        mask = (row < rows) & there
        place = row * channels + channel
        added = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
        normalised, _ = _normalised(tl.load(y + place, mask=mask, other=0.0).to(tl.float32), mask, channels, eps)
        tl.store(z + place, (added + normalised * w + b).to(z.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["rows"])
def _backward(
    y: tl.tensor,
    weight: tl.tensor,
    d_z: tl.tensor,
    d_y: tl.tensor,
    d_weights: tl.tensor,
    d_biases: tl.tensor,
    rows: int,
    channels: tl.constexpr,
    padded: tl.constexpr,
    block_rows: tl.constexpr,
    eps: tl.constexpr,
) -> None:
    """The gradients of `_forward`, on a grid of the same meaning.

    d_weights and d_biases (programs, C) hold each program's sum.
    """
    program = tl.program_id(0)
    channel = tl.arange(0, padded)[None, :]
    there = channel < channels
    w = tl.load(weight + channel, mask=there, other=0.0)
    d_weight, d_bias = tl.zeros([block_rows, padded], tl.float32), tl.zeros([block_rows, padded], tl.float32)
    for block in range(program.to(tl.int64), tl.cdiv(rows, block_rows), tl.num_programs(0)):
        row = block * block_rows + tl.arange(0, block_rows)[:, None]
        mask = (row < rows) & there
        place = row * channels + channel
        g = tl.load(d_z + place, mask=mask, other=0.0).to(tl.float32)
        normalised, factor = _normalised(tl.load(y + place, mask=mask, other=0.0).to(tl.float32), mask, channels, eps)
        d_weight += g * normalised
        d_bias += g
        g *= w
        mean, along = tl.sum(g, 1)[:, None] / channels, tl.sum(g * normalised, 1)[:, None] / channels
        tl.store(d_y + place, (factor * (g - mean - normalised * along)).to(d_y.dtype.element_ty), mask=mask)
    tl.store(d_weights + program * channels + channel, tl.sum(d_weight, 0)[None, :], mask=there)
    tl.store(d_biases + program * channels + channel, tl.sum(d_bias, 0)[None, :], mask=there)
