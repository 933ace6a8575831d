"""Everything that is only about speed.

`reference` says in PyTorch what the kernels compute, and serves where they do not; `cpu` has them in C++, compiled when
the package is installed. They are optional.
"""

from ramit_arch.kernels import reference
from ramit_arch.kernels.cpu import training

from torch import Tensor


def window_attention(qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor) -> Tensor:
    """As `reference.window_attention`."""
    if training.fits(qkv, qkv.shape[-1] // (3 * len(scale))):
        return training.window_attention(qkv, gate, scale, bias)
    return reference.window_attention(qkv, gate, scale, bias)


def add_norm(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """As `reference.add_norm`."""
    return reference.add_norm(x, y, weight, bias)
