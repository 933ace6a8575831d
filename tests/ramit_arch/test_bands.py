"""Large maps: bands and overwriting change no bit, and save memory."""

import sys
from pathlib import Path

import pytest
import torch
from helpers import TINY, fill, network, run_python

from ramit_arch import RAMiT, bands
from ramit_arch.bands import PATCH, in_bands, saves_memory
from ramit_arch.kernels.cpu.library import library
from ramit_arch.layers import max_pool

SIZES = [(1, 1), (33, 40), (64, 200), (97, 65)]


@pytest.fixture()
def small_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "LARGE", 1)
    monkeypatch.setattr(bands, "BAND_PIXELS", 1)


def output(net: RAMiT, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return net(x)


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("changes", [{}, {"scale": 1, "task": "CDN"}, {"mobivari_version": 1, "depths": [2, 1, 3, 2]}])
def test_it_changes_no_bit(changes: dict, kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernels:
        monkeypatch.setattr("ramit_arch.kernels.find", lambda *_: None)
    settings = {**TINY, **changes}
    net = fill(RAMiT(**{key: value for key, value in settings.items() if key != "type"})).eval()
    inputs = [torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) for size in SIZES]
    wanted = [output(net, x) for x in inputs]
    monkeypatch.setattr(bands, "LARGE", 1)
    monkeypatch.setattr(bands, "BAND_PIXELS", 1)
    for x, y in zip(inputs, wanted, strict=True):
        # mkldnn may choose another order of additions for another size.
        torch.testing.assert_close(output(net, x), y, rtol=0, atol=2e-6)


@pytest.mark.usefixtures("small_bands")
@pytest.mark.parametrize("name", ["RAMiT-1_x2", "RAMiT_GDN", "RAMiT-slimLLE_LLE"])
def test_published_variants(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = fill(network(name)).eval()
    x = torch.rand(1, net.in_channels, 96, 64, generator=torch.Generator().manual_seed(0))
    y = output(net, x)
    monkeypatch.setattr(bands, "LARGE", 2**40)
    torch.testing.assert_close(y, output(net, x), rtol=0, atol=2e-6)


@pytest.mark.usefixtures("small_bands")
def test_maps_of_several_sizes() -> None:
    full, half = torch.rand(1, 80, 8, 3), torch.rand(1, 40, 4, 3)

    def layer(full: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
        seen.append(full.shape[1])
        return max_pool(full) + half

    seen: list[int] = []
    with torch.no_grad():
        y = in_bands(layer, full, half, factor=2)
    assert torch.equal(y, max_pool(full) + half)
    assert seen == [4 * PATCH, *[6 * PATCH] * 3, 4 * PATCH]


@pytest.mark.usefixtures("small_bands")
def test_gradients_see_the_network_as_it_is_defined() -> None:
    x = torch.rand(1, 32, 32, 3)
    assert not saves_memory(x)
    with torch.no_grad():
        assert saves_memory(x)
        assert not saves_memory(x.to("meta"))


PEAK = """
import torch
from ramit_arch import RAMiT
from ramit_model.system.memory import forget_peak, keep_freed_memory, resident, resident_peak
keep_freed_memory()
net = RAMiT(variant="RAMiT-1", scale=2, depths=[2, 1, 1, 2]).eval()
x = torch.rand(1, 3, 640, 640)
with torch.no_grad():
    net(x[..., :64, :64])
    forget_peak()
    before = resident()
    net(x)
print((resident_peak() - before) / 640**2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is seen on Linux")
@pytest.mark.skipif(library() is None, reason="PyTorch's own operators take more")
def test_bytes_per_pixel_of_a_whole_image(tmp_path: Path) -> None:
    """About six maps of 64 channels; it was more than twice as much."""
    # Away from the checkout, where the kernels need not be.
    assert float(run_python(PEAK, cwd=tmp_path)) < 1800
