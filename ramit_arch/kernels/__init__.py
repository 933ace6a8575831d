"""Everything that is only about speed, behind one seam: `accelerated`.

`cpu` has kernels in C++, compiled when the package is installed; they are optional. `reference` says in PyTorch what
some of them compute.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from torch import Tensor, nn

from ramit_arch.kernels.cpu.block import KERNELS

Forward = TypeVar("Forward", bound=Callable[..., Any])


def accelerated(kind: str) -> Callable[[Forward], Forward]:
    """Decorate a module's `forward`: a kernel computes in its stead where `find` knows one for this module and input.

    The decorated method stays the definition of what is computed.

    Args:
        kind: Kind of kernel, a key of `cpu.block.KERNELS`.
    """

    def decorate(forward: Forward) -> Forward:
        @wraps(forward)
        def dispatch(module: nn.Module, x: Tensor, *args: Any) -> Any:
            kernel = find(kind, module, x)
            return forward(module, x, *args) if kernel is None else kernel(module, x, *args)

        return dispatch  # type: ignore[return-value]

    return decorate


def find(kind: str, module: nn.Module, x: Tensor) -> Callable[..., Any] | None:
    """Kernel of a kind that computes the `forward` of this module for this input, or None.

    Args:
        kind: See `accelerated`.
        module: Module whose `forward` is decorated.
        x: Its first input, (B, H, W, C).
    """
    kernel = KERNELS[kind]
    return kernel.run if kernel.is_supported(module, x) else None
