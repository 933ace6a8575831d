"""Registration of the kernels as PyTorch operators, so that torch.compile and torch.export call them as they are.

`torch.library.custom_op` would do, but the first call of what it makes imports the compiler (`torch._dynamo`), which
takes about as long as importing PyTorch itself.
"""

from collections.abc import Callable
from typing import Any

import torch

NAMESPACE = "ramit"
_LIBRARY = torch.library.Library(NAMESPACE, "FRAGMENT")


def operator(*, differentiable: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Decorator that makes an operator of a function, named as it is without underscores at the beginning.

    What torch.compile is to know of its results is registered by `torch.library.register_fake`.

    Args:
        differentiable: Whether gradients are registered by `torch.library.register_autograd`; asking for those of other
            operators raises RuntimeError.
    """

    def register(function: Callable[..., Any]) -> Any:
        name = function.__name__.lstrip("_")
        schema = torch.library.infer_schema(function, mutates_args=())
        _LIBRARY.define(f"{name}{schema}", tags=(torch.Tag.pt2_compliant_tag,))
        _LIBRARY.impl(name, function, "CompositeExplicitAutograd")

        def no_gradients(*_: Any) -> Any:
            raise RuntimeError(f"{NAMESPACE}::{name} has no gradients")

        if not differentiable:
            torch.library.register_autograd(f"{NAMESPACE}::{name}", no_gradients, lib=_LIBRARY)
        return getattr(getattr(torch.ops, NAMESPACE), name).default

    return register
