"""The Triton kernels against plain PyTorch in double precision, by Triton's interpreter on the CPU.

Triton reads TRITON_INTERPRET when it is imported, and other tests must not see it: the functions called `check_*` are
tests in a process of their own.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ramit_arch.kernels import gpu, plain

import pytest
import torch
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

TOLERANCES = {torch.float32: (1e-5, 1e-4), torch.float16: (2e-3, 5e-3), torch.bfloat16: (1e-2, 4e-2)}
"""Of values and of gradients, relative to the largest; much of the gradient of a scale cancels."""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_kernels_in_the_interpreter() -> None:
    options = ["-q", "--noconftest", "-p", "no:cacheprovider", "-o", "python_functions=check_*"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, __file__],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(("asked", "cuda", "installed"), [("0", True, True), ("1", False, True), ("1", True, False)])
def test_not_available(monkeypatch: pytest.MonkeyPatch, asked: str, cuda: bool, installed: bool) -> None:
    monkeypatch.setenv(gpu.SWITCH, asked)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    if not installed:
        monkeypatch.setitem(sys.modules, "triton", None)
    assert not gpu.available()


@pytest.fixture(autouse=True, scope="module")
def _bfloat16() -> Iterator[None]:
    """In Triton 3.9 the interpreter multiplies the bits of bfloat16 matrices as integers, and never rounds."""
    if not INTERPRETED:
        yield
        return
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    create_dot, cast = InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl

    def widened(x: TensorHandle) -> TensorHandle:
        if x.dtype.scalar != tl.bfloat16:
            return x
        return TensorHandle(torch.from_numpy(x.data.view("int16")).view(torch.bfloat16).float().numpy(), tl.float32)

    def rounding_cast(self: InterpreterBuilder, x: TensorHandle, dtype: tl.dtype) -> TensorHandle:
        if x.dtype.scalar != tl.float32 or dtype.scalar != tl.bfloat16:
            return cast(self, x, dtype)
        bits = torch.from_numpy(x.data).bfloat16().view(torch.int16).numpy().view("uint16")
        return TensorHandle(bits, tl.bfloat16)

    InterpreterBuilder.create_dot = lambda self, a, b, *rest: create_dot(self, widened(a), widened(b), *rest)
    InterpreterBuilder.cast_impl = rounding_cast
    yield
    InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl = create_dot, cast


def assert_near(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=tolerance * expected.abs().max().item())


def compare(
    kernel: Callable[..., Tensor], reference: Callable[..., Tensor], arguments: list[Tensor | None], dtype: torch.dtype
) -> list[tuple[Tensor, Tensor]]:
    """Compare the values, of the type of the first argument, and give each argument's gradient and the one expected."""
    ours = [None if t is None else t.requires_grad_() for t in arguments]
    exact = [None if t is None else t.detach().double().requires_grad_() for t in arguments]
    actual, expected = kernel(*ours), reference(*exact)
    assert actual.dtype == arguments[0].dtype
    assert_near(actual, expected, TOLERANCES[dtype][0])
    gradient = torch.randn_like(actual)
    actual.backward(gradient)
    expected.backward(gradient.double())
    gradients = [(a.grad, b.grad) for a, b in zip(ours, exact, strict=True) if a is not None]
    assert all(a.dtype == t.dtype for (a, _), t in zip(gradients, [t for t in ours if t is not None], strict=True))
    return gradients


def compare_attention(
    qkv: Tensor, heads: int, d: int, *, gated: bool = True, tokens: int = 16
) -> list[tuple[Tensor, Tensor]]:
    scale, bias = torch.rand(heads) * 20 + 1, torch.randn(heads, tokens, tokens)
    gate = torch.randn(len(qkv), tokens, d).to(qkv.dtype) if gated else None
    return compare(
        lambda *arguments: gpu.window_attention(*arguments, head_dim=d),
        lambda qkv, *rest: plain.window_attention(qkv[..., : 3 * heads * d], *rest),
        [qkv, gate, scale, bias],
        qkv.dtype,
    )


@pytest.mark.parametrize("d", [16, 12])
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("ignored", [0, 7])
@pytest.mark.parametrize("windows", [1, 3])
def check_attention(d: int, heads: int, gated: bool, ignored: int, windows: int) -> None:
    torch.manual_seed(1)
    qkv = torch.randn(windows, 16, 3 * heads * d + ignored)
    gradients = compare_attention(qkv, heads, d, gated=gated)
    for actual, expected in gradients:
        assert_near(actual, expected, TOLERANCES[torch.float32][1])
    assert torch.all(gradients[0][0][..., 3 * heads * d :] == 0)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("d", [16, 12])
def check_attention_of_usual_windows(dtype: torch.dtype, d: int) -> None:
    torch.manual_seed(1)
    for actual, expected in compare_attention(torch.randn(3, 64, 9 * d).to(dtype), 3, d, tokens=64):
        assert_near(actual, expected, TOLERANCES[dtype][1])


@pytest.mark.parametrize("size", [0.0, 1e-13])
def check_short_queries_and_keys(size: float) -> None:
    torch.manual_seed(1)
    d = 12
    qkv = torch.randn(2, 16, 3 * d)
    short = torch.zeros_like(qkv, dtype=torch.bool)
    short[0, 3, :d] = short[1, 5, d : 2 * d] = True
    qkv[short] *= size
    (actual, expected), *others = compare_attention(qkv, 1, d)
    # The shorter a vector, the larger its gradient: these would hide errors of all others.
    for part in (short, ~short):
        assert_near(actual[part], expected[part], TOLERANCES[torch.float32][1])
    for actual, expected in others:
        assert_near(actual, expected, TOLERANCES[torch.float32][1])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("channels", [64, 48, 20])
def check_add_norm(dtype: torch.dtype, channels: int) -> None:
    torch.manual_seed(1)
    x, y = (torch.randn(2, 5, 19, channels).to(dtype) for _ in range(2))
    arguments = [x, y + 3, torch.randn(channels), torch.randn(channels)]
    for actual, expected in compare(gpu.add_norm, plain.add_norm, arguments, dtype):
        assert_near(actual, expected, TOLERANCES[dtype][1])


def check_add_norm_of_two_types() -> None:
    torch.manual_seed(1)
    arguments = [torch.randn(3, 7, 20), torch.randn(3, 7, 20).bfloat16(), torch.randn(20), torch.randn(20)]
    for actual, expected in compare(gpu.add_norm, plain.add_norm, arguments, torch.bfloat16):
        assert_near(actual, expected, TOLERANCES[torch.bfloat16][1])


def check_refusals() -> None:
    scale, bias = torch.ones(1), torch.zeros(1, 16, 16)
    qkv = torch.zeros(1, 16, 48)
    for arguments in (
        (qkv[:, :9], None, scale, bias),
        (qkv.double(), None, scale, bias),
        (qkv.mT, None, scale, bias),
        (qkv[..., :40], None, scale, bias),
        (qkv, torch.zeros(1, 16, 17), scale, bias),
        (qkv, torch.zeros(1, 1, 16), scale, bias),
        (qkv, None, scale, bias[..., :9]),
    ):
        with pytest.raises(ValueError, match="window_attention: "):
            gpu.window_attention(*arguments)
    for x, y, weight in ((qkv, qkv[:, :9], qkv[0, 0]), (qkv, qkv, scale), (qkv.double(), qkv, qkv[0, 0])):
        with pytest.raises(ValueError, match="add_norm: "):
            gpu.add_norm(x, y, weight, qkv[0, 0])
