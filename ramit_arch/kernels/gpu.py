"""The Triton kernels, imported when they are first called: without Triton this module imports all the same."""

import os

import torch
from torch import Tensor

SWITCH = "RAMIT_TRITON"

MOST_CHANNELS = 1024


def available() -> bool:
    """Whether the kernels are to be used: there are Triton and a GPU, and the environment says RAMIT_TRITON=1.

    They have never been run on a GPU, only by Triton's interpreter on a CPU: there they compute the right values, but
    nobody has seen whether they are fast, or whether they work at all. So they are off unless asked for.
    """
    if os.environ.get(SWITCH) != "1" or not torch.cuda.is_available():
        return False
    try:
        import triton  # noqa: F401
    except ImportError:
        return False
    return True


def fits(x: Tensor) -> bool:
    """Whether the kernels can take windows or a map, (..., n, C), on a GPU; torch.compile makes kernels of its own."""
    sizes = x.shape[-1] <= MOST_CHANNELS and (x.ndim != 3 or x.shape[1] in (16, 64, 256))
    return x.is_cuda and x.dtype != torch.float64 and sizes and not torch.compiler.is_compiling() and available()


def window_attention(
    qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, *, head_dim: int | None = None
) -> Tensor:
    """As `triton_attention.window_attention`."""
    from ramit_arch.kernels import triton_attention

    return triton_attention.window_attention(qkv, gate, scale, bias, head_dim=head_dim)


def add_norm(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """As `triton_norm.add_norm`."""
    from ramit_arch.kernels import triton_norm

    return triton_norm.add_norm(x, y, weight, bias, eps)
