"""A GPU that there is not: tensors on `cuda:0` that have shapes, types and devices, and no values.

Tensors of the wrong device or type fail as they do on a GPU, and so does whatever waits for a value of one. The
backward pass itself needs a driver; here it gives each weight a gradient.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

needs_fake_cuda = pytest.mark.skipif(
    torch.__version__ < (2, 14),  # type: ignore[operator]
    reason="a fake GPU reaches into PyTorch; 2.14 was tried",
)

CUDA = torch.device("cuda", 0)
PROPERTIES = SimpleNamespace(major=9, minor=0, multi_processor_count=132, total_memory=80 * 2**30, name="fake")


@contextmanager
def fake_cuda() -> Iterator[None]:
    """Context in which all tensors are fake, and PyTorch takes itself to have one GPU."""
    answers: dict[str, Any] = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "_lazy_init": None,
        "is_bf16_supported": True,
        "get_device_properties": PROPERTIES,
        "get_device_capability": (9, 0),
        "mem_get_info": (70 * 2**30, 80 * 2**30),
        "memory_reserved": 0,
        "memory_allocated": 0,
    }
    with FakeTensorMode(), ExitStack() as stack:  # which on its entry must see that there is no GPU
        for name, answer in answers.items():
            stack.enter_context(mock.patch(f"torch.cuda.{name}", lambda *_, answer=answer, **__: answer))
        stack.enter_context(mock.patch.object(nn.Module, "_apply", _apply))
        yield


@contextmanager
def gradients_for(network: nn.Module) -> Iterator[None]:
    """Context in which `backward` gives each trained weight a gradient, after a look at the loss."""

    def backward(loss: Tensor) -> None:
        assert loss.device == CUDA
        assert loss.dtype == torch.float32
        assert loss.grad_fn is not None
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)

    with mock.patch.object(Tensor, "backward", backward):
        yield


def _apply(module: nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """`nn.Module._apply`, which swaps fake tensors in a way that fails while anything refers to them."""
    for child in module.children() if recurse else ():
        _apply(child, function)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            module._parameters[name] = nn.Parameter(function(parameter.detach()), parameter.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            # Not the buffer itself: a single number that was written down would be moved with its value.
            module._buffers[name] = function(torch.empty(buffer.shape, dtype=buffer.dtype))
    return module
