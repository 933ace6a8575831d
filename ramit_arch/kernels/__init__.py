"""The network's expensive steps, each by the fastest code that serves: what they compute is written in `plain`.

On a CPU, `inference` does both attentions of a block without gradients, `training` the spatial one with gradients, and
`transform` all that follows them, in C++ that is compiled when the package is installed; for GPUs, `gpu` has Triton
kernels. All of them are optional.
"""

from ramit_arch.kernels import gpu, plain, training

from torch import Tensor


def window_attention(qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor) -> Tensor:
    """As `plain.window_attention`."""
    if training.fits(qkv, qkv.shape[-1] // (3 * len(scale))):
        return training.window_attention(qkv, gate, scale, bias)
    if gpu.fits(qkv):
        return gpu.window_attention(qkv, gate, scale, bias)
    return plain.window_attention(qkv, gate, scale, bias)


def add_norm(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """As `plain.add_norm`."""
    if gpu.fits(x):
        return gpu.add_norm(x, y, weight, bias)
    return plain.add_norm(x, y, weight, bias)
