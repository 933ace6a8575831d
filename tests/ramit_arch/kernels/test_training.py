"""The training kernel of spatial attention against its definition in double precision."""

from collections.abc import Iterator

from ramit_arch.kernels.library import library
from ramit_arch.kernels.training import MOST_HEAD_DIM, fits, window_attention

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

TOKENS = 64
FORWARD, BACKWARD = 1e-5, 1e-4

needs_kernels = pytest.mark.skipif(library() is None, reason="no kernels are built for this processor")


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def definition(qkv: Tensor, gate: Tensor | None, scale: Tensor, bias: Tensor, head_dim: int) -> Tensor:
    heads = len(scale)
    q, k, v = qkv[..., : 3 * heads * head_dim].unflatten(-1, (3, heads, head_dim)).permute(2, 0, 3, 1, 4)
    if gate is not None:
        v = v * gate[:, None]
    q, k = F.normalize(q, dim=-1, eps=1e-12), F.normalize(k, dim=-1, eps=1e-12)
    scores = (q @ k.mT) * scale[:, None, None] + bias
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def example(windows: int, heads: int, head_dim: int, gated: bool, extra: int = 0) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(windows + heads + head_dim)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    gate = normal(windows, TOKENS, head_dim) if gated else None
    scale = 10 * torch.rand(heads, generator=generator) + 1
    return [normal(windows, TOKENS, 3 * heads * head_dim + extra), gate, scale, normal(heads, TOKENS, TOKENS)]


def both(inputs: list[Tensor | None], head_dim: int) -> tuple[list[Tensor], list[Tensor]]:
    """Output and gradients of kernel and definition."""
    results = []
    for function, dtype in (window_attention, torch.float32), (definition, torch.float64):
        leaves = [x if x is None else x.detach().to(dtype).requires_grad_() for x in inputs]
        y = function(*leaves, head_dim=head_dim)
        dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
        y.backward(dy.to(dtype))
        results.append([y.detach(), *(x.grad for x in leaves if x is not None)])
    return results[0], results[1]


def difference(x: Tensor, expected: Tensor) -> float:
    """The largest one, relative to the largest expected value."""
    return float((x - expected).abs().max() / expected.abs().max())


def check(actual: list[Tensor], expected: list[Tensor]) -> None:
    assert difference(actual[0], expected[0]) < FORWARD
    for x, y in zip(actual[1:], expected[1:], strict=True):
        assert x.shape == y.shape
        assert difference(x, y) < BACKWARD


@needs_kernels
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("head_dim", [16, 12, 4, 20])
def test_output_and_gradients(head_dim: int, heads: int, gated: bool, threads: int) -> None:
    check(*both(example(5, heads, head_dim, gated), head_dim))


@needs_kernels
@pytest.mark.parametrize("windows", [1, 2, 33])
def test_any_number_of_windows(windows: int, threads: int) -> None:
    check(*both(example(windows, 3, 16, gated=True), 16))


@needs_kernels
@pytest.mark.parametrize("extra", [1, 48])
@pytest.mark.parametrize("head_dim", [16, 12])
def test_other_columns_are_ignored(head_dim: int, extra: int, threads: int) -> None:
    inputs = example(3, 3, head_dim, gated=False, extra=extra)
    inputs[0][..., -extra:] = torch.nan
    actual, expected = both(inputs, head_dim)
    assert not actual[1][..., -extra:].any()
    check([actual[0], actual[1][..., :-extra], *actual[2:]], [expected[0], expected[1][..., :-extra], *expected[2:]])


@needs_kernels
def test_vectors_of_length_zero() -> None:
    """Their own gradient is huge (they are divided by 1e-12), so it is compared apart from the rest."""
    inputs = example(2, 1, 16, gated=True)
    zero = torch.zeros(2, TOKENS, 48, dtype=torch.bool)
    zero[0, 3, :16] = zero[1, 5, :16] = zero[1, 7, 16:32] = True
    inputs[0][zero] = 0
    actual, expected = both(inputs, 16)
    assert difference(actual[1][zero], expected[1][zero]) < BACKWARD
    check([actual[0], actual[1][~zero], *actual[2:]], [expected[0], expected[1][~zero], *expected[2:]])


@needs_kernels
def test_tiny_vectors_are_divided_by_a_constant() -> None:
    inputs = example(1, 1, 16, gated=False)
    inputs[0][..., :32] *= 1e-14
    check(*both(inputs, 16))


@needs_kernels
def test_large_scale_stays_finite() -> None:
    inputs = example(2, 3, 16, gated=True)
    inputs[2] = torch.full((3,), 100.0)
    actual, expected = both(inputs, 16)
    assert all(x.isfinite().all() for x in actual)
    assert difference(actual[0], expected[0]) < 10 * FORWARD  # scores of 100 have fewer digits behind the point


@needs_kernels
def test_inputs_of_any_layout() -> None:
    qkv, gate, scale, bias = example(3, 3, 16, gated=True)
    strange_qkv, strange_gate, strange_bias = (x.mT.contiguous().mT for x in (qkv, gate, bias))
    y = window_attention(strange_qkv, strange_gate, scale, strange_bias)
    assert torch.equal(y, window_attention(qkv, gate, scale, bias))


@needs_kernels
def test_head_dim_is_that_of_the_gate_or_fills_the_row() -> None:
    for gated in (False, True):
        inputs = example(2, 3, 12, gated)
        assert torch.equal(window_attention(*inputs), window_attention(*inputs, head_dim=12))


@pytest.mark.parametrize(
    ("shapes", "head_dim"),
    [
        ([(2, 64, 47), None, (1,), (1, 64, 64)], 16),
        ([(2, 49, 48), None, (1,), (1, 49, 49)], 16),
        ([(2, 64, 48), (1, 64, 16), (1,), (1, 64, 64)], 16),
        ([(2, 64, 96), None, (2,), (1, 64, 64)], 16),
        ([(2, 64, 99), None, (1,), (1, 64, 64)], 33),
    ],
)
def test_shapes_that_do_not_match(shapes: list[tuple[int, ...] | None], head_dim: int) -> None:
    with pytest.raises(ValueError, match="window_attention"):
        window_attention(*(None if shape is None else torch.zeros(shape) for shape in shapes), head_dim=head_dim)


@needs_kernels
def test_what_fits() -> None:
    qkv = torch.zeros(2, TOKENS, 48)
    assert fits(qkv, 16)
    assert not fits(qkv.bfloat16(), 16)
    assert not fits(qkv[:, :49], 16)
    assert not fits(qkv.to("meta"), 16)
    assert not fits(qkv, MOST_HEAD_DIM + 1)
