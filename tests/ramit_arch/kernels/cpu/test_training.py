"""The training kernels against their definitions in double precision."""

from collections.abc import Callable, Iterator

import pytest
import torch
from helpers import fill
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch.nn import functional as F

from ramit_arch import RAMiT
from ramit_arch.kernels.cpu import binding, post_attention, training
from ramit_arch.kernels.cpu.block import KERNELS, feed_forward_weights, mobivari_weights
from ramit_arch.kernels.cpu.library import library, load
from ramit_arch.kernels.cpu.training import is_supported, window_attention
from ramit_arch.layers import ChannelNorm, FeedForward
from ramit_arch.mobivari import mobivari

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
@pytest.mark.parametrize("head_dim", [16, 12, 4, 20, 36])
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
        pytest.param([(2, 49, 48), None, (1,), (1, 49, 49)], 16, marks=needs_kernels),
        ([(2, 64, 48), (1, 64, 16), (1,), (1, 64, 64)], 16),
        ([(2, 64, 96), None, (2,), (1, 64, 64)], 16),
        pytest.param([(2, 64, 195), None, (1,), (1, 64, 64)], 65, marks=needs_kernels),
    ],
)
def test_shapes_that_do_not_match(shapes: list[tuple[int, ...] | None], head_dim: int) -> None:
    with pytest.raises(ValueError, match="window_attention"):
        window_attention(*(None if shape is None else torch.zeros(shape) for shape in shapes), head_dim=head_dim)


@needs_kernels
def test_what_is_supported() -> None:
    qkv = torch.zeros(2, TOKENS, 48)
    assert is_supported(qkv, 16)
    assert not is_supported(qkv.bfloat16(), 16)
    assert not is_supported(qkv[:, :49], 16)
    assert not is_supported(qkv.to("meta"), 16)
    assert not is_supported(qkv, library().limits.max_head_dim + 1)


# MobiVari, norms and feed-forward network


@pytest.fixture
def avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = load("_avx2")
    assert kernels is not None
    monkeypatch.setattr(binding, "library", lambda: kernels)


def gradients(module: nn.Module, inputs: list[Tensor], wanted: list[bool], dtype: torch.dtype) -> dict[str, Tensor]:
    """Gradients of inputs and parameters, and the outputs, by name; in double precision no kernel serves.

    Args:
        module: Gives a tuple.
        inputs: Its arguments.
        wanted: Which of the outputs matter.
        dtype: To compute in.
    """
    module = module.to(dtype)
    leaves = [x.detach().to(dtype).requires_grad_() for x in inputs]
    outputs = module(*leaves)
    generator = torch.Generator().manual_seed(2)
    losses = [
        (y * torch.randn(y.shape, generator=generator).to(dtype)).sum()
        for y, counts in zip(outputs, wanted, strict=True)
        if counts
    ]
    sum(losses).backward()
    named = {f"input {i}": leaf.grad for i, leaf in enumerate(leaves)}
    named |= {name: parameter.grad for name, parameter in module.named_parameters()}
    found = {name: x.clone() for name, x in named.items() if x is not None}
    module.zero_grad()
    return found | {f"output {i}": y.detach() for i, y in enumerate(outputs) if y is not None}


def check_module(module: nn.Module, inputs: list[Tensor], wanted: list[bool]) -> None:
    actual, expected = (gradients(module, inputs, wanted, dtype) for dtype in (torch.float32, torch.float64))
    for name in actual.keys() - expected.keys():  # weights that do not matter
        assert not actual.pop(name).any(), name
    assert actual.keys() == expected.keys()
    for name, x in expected.items():
        assert actual[name].shape == x.shape, name
        assert difference(actual[name], x) < BACKWARD, name


class Rest(nn.Module):
    """Rest of a block after its attentions, from its definition; in single precision by the kernel."""

    def __init__(self, dim: int = 16, hidden: int = 32, version: int = 2, groups: int = 4) -> None:
        super().__init__()
        self.mobivari = mobivari(dim, dim, version=version, expansion=1.2, groups=groups)
        self.norm1, self.norm2 = ChannelNorm(dim), ChannelNorm(dim)
        self.ffn = FeedForward(dim, hidden)
        fill(self)

    def by_kernels(self, attentions: Tensor, x: Tensor, *, keep_mixed: bool) -> tuple[Tensor, Tensor | None]:
        weights = mobivari_weights(self.mobivari), feed_forward_weights(self)
        return post_attention.post_attention(attentions, x, *weights, keep_mixed=keep_mixed)

    def forward(self, attentions: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        if attentions.dtype == torch.float32:
            assert KERNELS["mobivari"].is_supported(self.mobivari, x)
            return self.by_kernels(attentions, x, keep_mixed=True)
        mixed = self.mobivari(attentions)
        x = x + self.norm1(mixed)
        return x + self.norm2(self.ffn(x)), mixed


class Alone(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.module(x),)


SETTINGS = [
    {},
    {"version": 1},
    {"dim": 64, "hidden": 128},
    {"dim": 48, "hidden": 110},
    {"dim": 20, "hidden": 14, "groups": 5},
    {"dim": 19, "hidden": 51, "version": 1},
]


def maps(batch: int, height: int, width: int, channels: int, count: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(channels + height)
    return [torch.randn(batch, height, width, channels, generator=generator) for _ in range(count)]


@needs_kernels
@pytest.mark.parametrize("changes", SETTINGS)
@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)])
def test_gradients_of_what_follows_the_attentions(changes: dict, wanted: tuple[bool, bool], threads: int) -> None:
    check_module(Rest(**changes), maps(2, 16, 24, changes.get("dim", 16)), list(wanted))


@needs_kernels
@pytest.mark.parametrize("changes", SETTINGS)
@pytest.mark.usefixtures("avx2")
def test_gradients_without_avx512(changes: dict) -> None:
    check_module(Rest(**changes), maps(1, 8, 24, changes.get("dim", 16)), [True, True])


@needs_kernels
@pytest.mark.parametrize(
    ("dim", "out_dim", "version", "expansion", "groups"),
    [
        (148, 64, 2, 1.2, 4),  # H-RAMi: 37 channels a group, 45 expanded
        (256, 64, 2, 1.2, 4),
        (111, 48, 2, 2.0, 1),
        (30, 30, 2, 1.5, 3),
        (192, 48, 1, 1.0, 1),
        (19, 19, 1, 1.0, 1),
    ],
)
def test_gradients_of_mobivari(
    dim: int, out_dim: int, version: int, expansion: float, groups: int, threads: int
) -> None:
    module = fill(mobivari(dim, out_dim, version=version, expansion=expansion, groups=groups))
    check_module(Alone(module), maps(2, 8, 16, dim, 1), [True])


@needs_kernels
def test_a_gradient_that_is_no_number_does_not_outlive_its_call() -> None:
    """Gradient scaling goes on after overflows, with the same working memory."""
    wide, narrow = Rest(80), Rest(20)
    attentions, x = maps(1, 8, 8, 80)
    gradients(wide, [attentions * torch.inf, x], [True, True], torch.float32)
    y, _ = wide(attentions.requires_grad_(), x)
    (y * torch.nan).sum().backward()
    check_module(narrow, maps(1, 8, 8, 20), [True, True])


@needs_kernels
def test_maps_in_bfloat16() -> None:
    rest = Rest(48)
    # Rounded beforehand: signs decide.
    inputs = [x.bfloat16().float() for x in maps(1, 16, 16, 48)]
    expected = gradients(rest, inputs, [True, False], torch.float64)
    low = [x.bfloat16().requires_grad_() for x in inputs]
    with torch.autocast("cpu", torch.bfloat16):
        rest.float()
        y, mixed = rest.by_kernels(*low, keep_mixed=False)
    assert mixed is None
    assert y.dtype == torch.bfloat16
    y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(2)))
    for i, x in enumerate(low):
        assert x.grad.dtype == torch.bfloat16
        assert difference(x.grad.double(), expected[f"input {i}"]) < 0.02


@needs_kernels
def test_only_inputs_and_weights_are_kept() -> None:
    rest = Rest(48)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        inputs = [x.requires_grad_() for x in maps(1, 16, 16, 48)]
        rest.by_kernels(*inputs, keep_mixed=False)
    largest = max(parameter.numel() for parameter in rest.parameters())
    assert sum(x.numel() > largest for x in kept) == len(inputs)


@needs_kernels
def test_which_maps_are_supported() -> None:
    x = torch.zeros(1, 16, 24, 48)
    assert binding.is_supported(x, 48, 96)
    assert binding.is_supported(x.bfloat16(), 48)
    assert not binding.is_supported(x.double(), 48)
    assert not binding.is_supported(x[:, :, :20], 48)
    assert not binding.is_supported(x[:, :10], 48)
    assert not binding.is_supported(x, 48, library().limits.max_channels + 1)
    assert not binding.is_supported(x, 48, side=16)


@needs_kernels
def test_operators_describe_their_gradients_truly() -> None:
    """To torch.compile."""
    rest, (attentions, x) = Rest(20, 14, groups=5), (each.requires_grad_() for each in maps(1, 8, 16, 20))
    layers, feed_forward = mobivari_weights(rest.mobivari), feed_forward_weights(rest)
    leaves = [each if each is None else each.requires_grad_() for each in example(2, 2, 12, gated=True)]
    for operator, arguments in (
        (post_attention._mobivari, (x, *layers)),
        (post_attention._post_attention, (attentions, x, *layers, *feed_forward, True)),
        (post_attention._post_attention, (attentions, x, *layers, *feed_forward, False)),
        (training._window_attention, (*leaves, 12)),
    ):
        torch.library.opcheck(operator, arguments)


@needs_kernels
@pytest.mark.parametrize("variant", ["RAMiT", "RAMiT-1"])
def test_a_compiled_training_calls_the_kernels(variant: str) -> None:
    torch.manual_seed(0)
    net = fill(RAMiT(variant=variant, scale=2, dim=16, depths=[2, 1, 1, 1], neck_groups=1))
    x = torch.rand(1, 3, 32, 32)
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        graphs.append(graph.code)
        return make_boxed_func(graph)

    compiled = torch.compile(net, fullgraph=True, backend=aot_autograd(fw_compiler=backend, bw_compiler=backend))
    found = []
    for network in net, compiled:
        network(x).square().mean().backward()
        found.append([parameter.grad.clone() for parameter in net.parameters()])
        net.zero_grad()
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert len(graphs) == 2
    for name in "window_attention", "post_attention", "mobivari":
        assert f"ramit.{name}" in graphs[0]
    for name in "window_attention_backward", "post_attention_backward":
        assert f"ramit.{name}" in graphs[1]
