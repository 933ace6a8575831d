"""Registration of operators."""

import pytest
import torch
from helpers import run_python
from torch import Tensor

from ramit_arch.kernels.cpu.operators import operator


@operator()
def _doubled_for_tests(x: Tensor, more: list[Tensor], n: int = 2) -> Tensor:
    return n * x + sum(more)


@operator(differentiable=True)
def tripled_for_tests(x: Tensor) -> Tensor:
    return 3 * x.detach()


torch.library.register_autograd("ramit::tripled_for_tests", lambda ctx, gradient: 3 * gradient)


def test_an_operator_is_a_function_of_pytorch() -> None:
    x = torch.ones(2)
    assert _doubled_for_tests(x, [x, x]).tolist() == [4, 4]
    assert torch.ops.ramit.doubled_for_tests(x, [x], n=5).tolist() == [6, 6]


def test_gradients_of_an_operator() -> None:
    x = torch.ones(2, requires_grad=True)
    tripled_for_tests(x).sum().backward()
    assert x.grad.tolist() == [3, 3]
    with pytest.raises(RuntimeError, match="ramit::doubled_for_tests has no gradients"):
        _doubled_for_tests(x, []).sum().backward()


def test_restoring_an_image_does_not_import_the_compiler() -> None:
    """It takes about as long as PyTorch itself."""
    said = run_python("""
import sys, torch
from ramit_arch import NGswin, RAMiT
for net in (RAMiT(scale=2, dim=16, depths=[2, 1, 1, 1], neck_groups=1), NGswin(scale=2)):
    with torch.inference_mode():
        net.eval()(torch.rand(1, 3, 40, 33))
print([name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
""")
    assert said.strip() == "[]"
