"""Tiles that share the statistics of the whole image: exact where they go together, close where they are estimated."""

from typing import Any

import pytest
import torch
from helpers import TINY, fill
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ramit_arch import NGswin, RAMiT
from ramit_arch.attention import ChannelAttention
from ramit_model.inference import restoring
from ramit_model.inference.estimation import Estimation, calibrated, scattered
from ramit_model.inference.padding import run_padded
from ramit_model.inference.restoring import restore_pixels
from ramit_model.inference.shared_statistics import Exchange, Recording, channel_attentions, exchanging
from ramit_model.inference.tiling import Tiling, tiles

UNIT = 32


def tiny(**changes: Any) -> RAMiT:
    torch.manual_seed(0)
    net = RAMiT(**{key: value for key, value in {**TINY, **changes}.items() if key != "type"})
    return net.eval()


def picture(height: int, width: int) -> Tensor:
    """Dark on one side, bright on the other, so that tiles have statistics of their own."""
    noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    return noise * torch.linspace(0.1, 1, width) * torch.linspace(0.5, 1, height)[:, None]


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * (a - b).square().mean().log10())


def whole(net: torch.nn.Module, lq: Tensor) -> tuple[Tensor, dict[ChannelAttention, Tensor]]:
    recording = Recording()
    with torch.no_grad(), exchanging(net, Exchange(recording=recording)):
        return run_padded(net, lq, UNIT, net.scale), recording.averages()  # type: ignore[arg-type]


def restored(net: torch.nn.Module, lq: Tensor, tile: int, overlap: int = 32, **tiling: Any) -> Tensor:
    return restore_pixels(net, lq, unit=UNIT, scale=net.scale, tiling=Tiling(tile, overlap, **tiling))  # type: ignore[arg-type]


@pytest.fixture()
def few_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a part of the tiles fits the memory."""
    monkeypatch.setattr(restoring, "most_pixels", lambda *_: 4 * 128 * 128)


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("changes", [{}, {"scale": 1, "task": "LLE"}, {"scale": 1, "task": "CDN"}])
def test_statistics_handed_in_are_those_of_the_input(
    changes: dict[str, Any], kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernels:
        monkeypatch.setattr("ramit_arch.kernels.find", lambda *_: None)
    net, lq = fill(tiny(**changes)), picture(70, 90)
    with torch.no_grad():
        own = run_padded(net, lq, UNIT, net.scale)  # type: ignore[arg-type]
    recorded, averages = whole(net, lq)
    assert psnr(recorded, own) > 100
    with torch.no_grad(), exchanging(net, Exchange(averages)):
        assert psnr(run_padded(net, lq, UNIT, net.scale), own) > 100  # type: ignore[arg-type]
    assert all(attention.statistics is None for attention in channel_attentions(net))


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 200), st.integers(1, 200), st.sampled_from([64, 128]), st.sampled_from([0, 32]))
def test_first_statistics_of_tiles_together_are_exact(height: int, width: int, tile: int, overlap: int) -> None:
    """Each pixel counts once, whatever the overlap. The first attention comes before any context is missed."""
    net = tiny(depths=[1, 1, 1, 1])
    lq = picture(height, width)
    _, wanted = whole(net, lq)
    first = next(iter(wanted))
    grid = [
        part
        for row in tiles(*(-(-size // UNIT) * UNIT for size in (height, width)), tile, overlap, UNIT)
        for part in row
    ]
    source = restoring.Source(lq, UNIT)
    job: Any = type("Job", (), {"source": source, "device": torch.device("cpu")})()
    recording = Recording()
    exchange = Exchange(recording=recording, mask=torch.cat([part.mask() for part in grid]))
    with torch.no_grad(), exchanging(net, exchange):
        net(torch.cat([restoring._Job.read(job, part) for part in grid]))
    # A 3x3 convolution comes before: only cores that touch an overlap are exact.
    tolerance = 3e-5 if overlap or len(grid) == 1 else 0.05
    error = (recording.averages()[first] - wanted[first]).abs().max() / wanted[first].abs().max()
    assert error < tolerance


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 200), (161, 299)])
@pytest.mark.parametrize("changes", [{}, {"scale": 1, "task": "LLE"}])
def test_tiles_together_are_close_to_the_whole(size: tuple[int, int], changes: dict[str, Any]) -> None:
    net, lq = tiny(**changes), picture(*size)
    shared, plain = (psnr(restored(net, lq, 128, shared=share), whole(net, lq)[0]) for share in (True, False))
    assert shared > 60
    assert shared >= plain


@pytest.mark.usefixtures("few_pixels")
def test_each_pass_comes_closer() -> None:
    net, lq = tiny(scale=1, task="LLE"), picture(400, 500)
    wanted, _ = whole(net, lq)
    values = [psnr(restored(net, lq, 128, shared=False), wanted)]
    values += [psnr(restored(net, lq, 128, passes=passes), wanted) for passes in (0, 1, 2)]
    assert values[0] < values[1] < values[2] <= values[3] + 1
    assert values[3] > 60


@pytest.mark.usefixtures("few_pixels")
def test_the_number_of_passes_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    net, lq = tiny(scale=1, task="LLE"), picture(400, 500)
    chosen = []
    passes = Estimation.passes
    monkeypatch.setattr(Estimation, "passes", lambda self: chosen.append(passes(self)) or chosen[-1])
    assert psnr(restored(net, lq, 128), whole(net, lq)[0]) > 55
    assert 0 <= chosen[0] <= 2


@pytest.mark.usefixtures("few_pixels")
def test_images_of_a_batch_keep_their_own_statistics() -> None:
    net, lq = fill(tiny()), picture(200, 300)
    both = torch.cat([lq, 1 - lq])
    result = restored(net, both, 128)
    assert torch.equal(result[:1], restored(net, lq, 128))
    assert torch.equal(result[1:], restored(net, 1 - lq, 128))


def test_networks_without_channel_attention_share_nothing() -> None:
    net = NGswin(scale=2).eval()
    assert channel_attentions(net) == []
    result = restored(net, picture(64, 96), 64)
    assert torch.equal(result, restored(net, picture(64, 96), 64, shared=False))


def test_an_error_takes_the_exchange_away() -> None:
    net = tiny()
    with pytest.raises(KeyError), exchanging(net, Exchange()):
        raise KeyError
    assert all(attention.statistics is None for attention in channel_attentions(net))


def test_weights_reach_the_averages_of_the_whole() -> None:
    sample = torch.rand(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5
    whole = torch.tensor([90.0, 88.0, 93.0], dtype=torch.float64)
    weights = calibrated(sample, whole)
    totals = (weights[:, None] * sample).sum(0)
    torch.testing.assert_close(totals / totals[0], whole / whole[0])
    assert torch.equal(calibrated(sample, sample.sum(0)).round(decimals=6), torch.ones(9, dtype=torch.float64))
    assert calibrated(sample, whole * torch.tensor([1, 50, 0])).min() >= 0.1


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 100))
def test_a_sample_is_scattered(rows: int, columns: int, count: int) -> None:
    cells = scattered(rows, columns, count)
    assert len(set(cells)) == len(cells) <= rows * columns
    assert all(0 <= row < rows and 0 <= column < columns for row, column in cells)
    assert len(cells) >= min(count, rows * columns) / 3
