"""The fused CPU kernels against the literal network and against the plain operations."""

import functools
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from helpers import TINY, fill, network
from literal import LiteralRAMiT

from ramit_arch import RAMiT
from ramit_arch.kernels.cpu import binding, inference, library, post_attention

pytestmark = pytest.mark.skipif(library.library() is None, reason="no kernels were compiled for this processor")

NAMES = ["RAMiT-1_x2", "RAMiT_x3", "RAMiT-slimSR_x4", "RAMiT_CDN", "RAMiT-1_CDN", "RAMiT_GDN", "RAMiT-slimLLE_LLE"]


@pytest.fixture(params=["_avx512", "_avx2"])
def variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Use the kernels for one kind of processor."""
    if request.param == "_avx512" and torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("this processor has no AVX-512")
    kernels = library.load(request.param)
    assert kernels is not None
    monkeypatch.setattr(binding, "library", lambda: kernels)
    return request.param


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def without_kernels(net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr("ramit_arch.kernels.find", lambda *_: None)
        return net(x)


@functools.cache
def literal_outputs(name: str, size: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A random input, and the literal network's outputs in single and in double precision."""
    variant, task = name.rsplit("_", 1)
    scale = int(task[1:]) if task.startswith("x") else None
    reference = fill(LiteralRAMiT(variant, "SR" if scale else task, scale))
    batch, height, width = size
    torch.manual_seed(1)
    x = torch.rand(batch, reference.in_channels, height, width)
    with torch.no_grad():
        return x, reference(x), reference.double()(x.double())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 40, 72), (3, 32, 33)])
def test_as_exact_as_the_literal_network(name: str, size: tuple[int, int, int], variant: str) -> None:
    x, expected, exact = literal_outputs(name, size)
    with torch.no_grad():
        y = fill(network(name)).eval()(x)
    # Random weights amplify rounding: the measure is how far PyTorch's own float32 operations are off.
    assert (y - exact).abs().max() < 2 * (expected - exact).abs().max() + 1e-5


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dim": 32, "num_heads": [4, 4, 4, 8], "chsa_head_ratio": 0.5},  # several channel heads, 4 channels a head
        {"dim": 64, "num_heads": [2, 2, 2, 2], "chsa_head_ratio": 0.5},  # 32 channels a head
        {"qkv_bias": False, "hidden_ratio": 2.5, "helper": False},
        {"mobivari_version": 1, "depths": [3, 2, 2, 2]},
        {"dim": 48, "mobivari_groups": 3, "neck_groups": 3, "mobivari_expansion": 1.5},
    ],
)
@pytest.mark.parametrize("threads", [1, 3], indirect=True)
def test_settings(changes: dict, threads: None) -> None:
    torch.manual_seed(0)
    net = fill(RAMiT(**{key: value for key, value in {**TINY, **changes}.items() if key != "type"})).eval()
    x = torch.rand(2, 3, 35, 48)
    with torch.no_grad():
        y, plain = net(x), without_kernels(net, x)
    exact = without_kernels(net.double(), x.double())
    assert (y - exact).abs().max() < 2 * (plain - exact).abs().max() + 1e-5


def test_channel_heads_sum_over_the_whole_image() -> None:
    """In single precision, sums over many equal pixels would drift."""
    net = fill(RAMiT(variant="RAMiT-1", scale=2, depths=[1, 1, 1, 1])).eval()
    x = torch.full((1, 3, 256, 256), 0.5)
    x[:, :, 0, 0] = 0.6
    with torch.no_grad():
        y = net(x)
    exact = without_kernels(net.double(), x.double())
    assert (y - exact).abs().max() < 1e-4


def test_bfloat16() -> None:
    net, x = RAMiT(variant="RAMiT-1", scale=2, depths=[2, 1, 1, 2]).eval(), torch.rand(1, 3, 40, 48)
    with torch.no_grad():
        exact = net(x)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = net(x)
        low = net.bfloat16()(x.bfloat16())
    assert low.dtype == torch.bfloat16
    assert 0 < (mixed.float() - exact).abs().max() < 0.02
    assert 0 < (low.float() - exact).abs().max() < 0.05


def test_what_is_no_number_stays_none() -> None:
    net, x = fill(RAMiT(variant="RAMiT-1", scale=2, depths=[1, 1, 1, 1])).eval(), torch.rand(1, 3, 32, 32)
    x[0, 0, 5, 5] = torch.nan
    with torch.no_grad():
        assert net(x).isnan().any()


def test_sizes_beyond_the_working_memory_are_left_to_pytorch() -> None:
    net = RAMiT(scale=2, dim=256, depths=[1, 1, 1, 1], num_heads=[4, 4, 4, 4]).eval()
    with torch.no_grad():
        assert net(torch.rand(1, 3, 32, 32)).isfinite().all()
    assert not inference.is_supported(256, 3, 1)
    assert inference.is_supported(64, 3, 1)


def test_compiled_networks_call_the_kernels() -> None:
    net, x = fill(RAMiT(variant="RAMiT-1", scale=2, depths=[2, 1, 1, 1])).eval(), torch.rand(1, 3, 40, 33)
    graphs = []

    def backend(graph, _):
        graphs.append(graph.code)
        return graph

    with torch.no_grad():
        compiled = torch.compile(net, fullgraph=True, backend=backend, dynamic=True)
        torch.testing.assert_close(compiled(x), net(x))
        x = torch.rand(1, 3, 70, 64)
        torch.testing.assert_close(compiled(x), net(x))
    assert len(graphs) == 1
    assert "ramit.attend" in graphs[0]


@pytest.mark.parametrize(
    ("module", "operator"), [(inference, "attend"), (post_attention, "_mobivari"), (post_attention, "_post_attention")]
)
def test_operators_describe_themselves_truly(module: ModuleType, operator: str) -> None:
    """Shapes and aliases are as torch.compile is told."""
    captured = {}
    original = getattr(module, operator)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(module, operator, lambda *arguments: captured.setdefault("_", arguments) and original(*arguments))
        fill(RAMiT(scale=2, dim=16, depths=[2, 1, 1, 1], neck_groups=1))(torch.rand(1, 3, 32, 32))
        torch.library.opcheck(original, captured["_"], test_utils=("test_schema", "test_faketensor"))
