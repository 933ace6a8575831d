"""One door for images of any size and type: whole they are what the network gives, and tiles cover them."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import TINY, fill, photograph, run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from ramit_arch import RAMiT
from ramit_model.basicsr_bridge import tensor2img
from ramit_model.inference import restoring
from ramit_model.inference.padding import pad_symmetric, run_padded
from ramit_model.inference.restoring import restore_pixels
from ramit_model.inference.tiling import Tiling, tiles

CPU = torch.device("cpu")
UNIT = 8
SIZES = st.integers(1, 90)
KINDS = [np.uint8, np.uint16, np.float32]


class Enlarging(nn.Module):
    """A network that sees one pixel at a time, and remembers its inputs."""

    def __init__(self, scale: int = 1) -> None:
        super().__init__()
        self.scale = scale
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return F.interpolate(1.2 - 1.4 * x, scale_factor=self.scale, mode="nearest")


def restored(net: nn.Module, lq: Any, tile: Any = None, scale: int = 1, **arguments: Any) -> Any:
    return restore_pixels(
        net, lq, unit=UNIT, scale=scale, tiling=Tiling(tile, arguments.pop("overlap", None)), device=CPU, **arguments
    )


def random(kind: Any, *shape: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    if np.issubdtype(kind, np.floating):
        return generator.random(shape, dtype=kind)
    return generator.integers(0, np.iinfo(kind).max, shape, dtype=kind, endpoint=True)


@settings(deadline=None)
@given(SIZES, SIZES, st.integers(1, 70), st.integers(0, 40), st.integers(1, 3), st.sampled_from([1, 3]))
def test_pixel_by_pixel_tiles_give_the_whole_result(
    height: int, width: int, tile: int, overlap: int, scale: int, channels: int
) -> None:
    lq = torch.from_numpy(random(np.float32, 1, channels, height, width))
    net = Enlarging(scale)
    result = restored(net, lq, tile, scale, overlap=overlap)
    torch.testing.assert_close(result, Enlarging(scale)(lq), rtol=0, atol=1e-6)
    side = -(-tile // (2 * UNIT)) * 2 * UNIT
    assert all(max(x.shape[-2:]) <= side for x in net.seen)


@given(SIZES, SIZES, st.integers(1, 70), st.integers(0, 40))
def test_cores_have_each_pixel_once_and_tiles_keep_the_grid(height: int, width: int, tile: int, overlap: int) -> None:
    height, width = (-(-size // UNIT) * UNIT for size in (height, width))
    count, weight = np.zeros((height, width), int), np.zeros((height, width))
    grid = tiles(height, width, tile, overlap, UNIT)
    for rows, columns in (part for row in grid for part in row):
        for row, column in ((row, column) for row in rows.pieces for column in columns.pieces):
            count[row.core, column.core] += 1
            across, down = columns.fade(1).numpy(), rows.fade(1).numpy()
            weight[row.start : row.stop, column.start : column.stop] += np.outer(
                down[row.offset :][: row.stop - row.start], across[column.offset :][: column.stop - column.start]
            )
        for piece in rows.pieces + columns.pieces:
            assert piece.start % UNIT == piece.offset % UNIT == 0
            assert piece.start <= piece.shown.start <= piece.core.start < piece.core.stop
            assert piece.core.stop <= piece.shown.stop <= piece.stop
    assert (count == 1).all()
    np.testing.assert_allclose(weight, 1, atol=1e-6)
    assert sum(int(tile.mask().sum()) for row in grid for tile in row) == height * width
    assert len({(tile.rows.size, tile.columns.size) for row in grid for tile in row}) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(17, 30, 3), (17, 30), (17, 30, 1), (1, 1, 3)])
@pytest.mark.parametrize("tile", [None, 16])
def test_arrays_of_any_type(kind: Any, shape: tuple[int, ...], tile: int | None) -> None:
    lq = random(kind, *shape)
    largest = 1 if kind is np.float32 else np.iinfo(kind).max
    result = restored(Enlarging(2), lq, tile, 2)
    assert (result.dtype, result.shape) == (kind, (2 * shape[0], 2 * shape[1], *shape[2:]))
    wanted = (1.2 - 1.4 * lq.astype(np.float32) / np.float32(largest)).repeat(2, 0).repeat(2, 1)
    if kind is not np.float32:
        wanted = (wanted.clip(0, 1) * largest).round()
    np.testing.assert_allclose(result, wanted, rtol=0, atol=1 if largest > 1 else 1e-6)


def test_the_input_may_be_smaller_than_its_padding() -> None:
    lq, net = torch.rand(1, 3, 3, 2), Enlarging()
    restored(net, lq, 8)
    torch.testing.assert_close(net.seen[0], pad_symmetric(lq, UNIT), rtol=0, atol=0)


def test_8_bits_are_rounded_as_tests_round_them() -> None:
    net = fill(RAMiT(**{key: value for key, value in TINY.items() if key != "type"})).eval()
    picture = photograph(37, 50)
    lq = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32) / 255)[None]
    with torch.no_grad():
        whole = run_padded(net, lq, net.size_unit, net.scale)
    result = restore_pixels(net, picture, unit=net.size_unit, scale=net.scale)
    np.testing.assert_array_equal(result, tensor2img([whole.clone()], rgb2bgr=False))
    assert torch.equal(restore_pixels(net, lq, unit=net.size_unit, scale=net.scale), whole)


def test_a_memory_map_as_output(tmp_path: Any) -> None:
    lq = random(np.uint8, 40, 50, 3)
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.uint16, (40, 50, 3))
    assert restored(Enlarging(), lq, 16, out=out) is out
    wanted = ((1.2 - 1.4 * lq / 255).clip(0, 1) * 65535).round()
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), wanted, rtol=0, atol=1)


def test_progress_reaches_its_total() -> None:
    calls: list[tuple[int, int]] = []
    restored(Enlarging(), random(np.uint8, 40, 50, 3), 16, progress=lambda *call: calls.append(call))
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert len({total for _, total in calls}) == 1
    assert calls[-1][0] == calls[-1][1]


class Hungry(Enlarging):
    """A network that cannot get the memory for more than so many pixels."""

    def __init__(self, pixels: int, error: Exception) -> None:
        super().__init__()
        self.pixels, self.error = pixels, error

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] * x.shape[-2] > self.pixels:
            raise self.error
        return super().forward(x)


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("tile", ["auto", 300])
def test_out_of_memory_halves_the_tiles(error: Exception, tile: Any) -> None:
    lq, net = random(np.float32, 300, 200, 3), Hungry(100 * 100, error)
    np.testing.assert_allclose(restored(net, lq, tile), 1.2 - 1.4 * lq, rtol=0, atol=1e-6)
    assert max(max(x.shape[-2:]) for x in net.seen) == 80


def test_out_of_memory_at_the_smallest_tiles_is_an_error() -> None:
    with pytest.raises(MemoryError):
        restored(Hungry(10, MemoryError()), random(np.float32, 300, 200, 3), "auto")


def test_without_tiles_out_of_memory_is_an_error() -> None:
    with pytest.raises(MemoryError):
        restored(Hungry(100, MemoryError()), random(np.float32, 300, 200, 3), None)


def test_other_errors_are_not_caught() -> None:
    net = Hungry(100, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        restored(net, random(np.float32, 300, 200, 3), "auto")


def test_what_does_not_fit_is_tiled(monkeypatch: pytest.MonkeyPatch) -> None:
    lq, net = random(np.uint8, 300, 200, 3), Enlarging()
    monkeypatch.setattr(restoring, "fitting_pixels", lambda *_: 150 * 150)
    restored(net, lq, "auto")
    assert {tuple(x.shape[-2:]) for x in net.seen} == {(128, 128)}


PEAK = """
import sys
from pathlib import Path

import numpy as np
from ramit_arch import RAMiT
from ramit_model.inference import memory_model
from ramit_model.inference.restoring import restore_pixels
from ramit_model.system.memory import forget_peak, keep_freed_memory, resident, resident_peak
keep_freed_memory()
memory_model.memory_at_hand = lambda: {allowed}
net = RAMiT(task="CDN", dim=16, depths=[1, 1, 1, 1], neck_groups=1).eval()
image = np.zeros(({height}, 2000, 3), np.uint8)
restore_pixels(net, image[:64, :64], unit=32, scale=1)
forget_peak()
before = resident()
restore_pixels(net, image, unit=32, scale=1)
print((resident_peak() - before) / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is seen on Linux")
@pytest.mark.parametrize("height", [1000, 3000])
def test_memory_is_bounded(height: int, tmp_path: Path) -> None:
    """A larger image takes no more, but for its result; as a whole, 2000x3000 pixels would take 2.6 GB."""
    # Away from the checkout, where the kernels need not be.
    peak = float(run_python(PEAK.format(allowed=200 * 2**20, height=height), cwd=tmp_path))
    assert peak < 400 + 2000 * height * 3 / 2**20
