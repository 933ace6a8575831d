"""Restoring in tiles: what looks at few pixels gives the whole image's result, and seams fade."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from ramit_model.inference.restoring import restore_pixels
from ramit_model.inference.tiling import Tiling, spans, tiles

SIZES = st.integers(1, 90)
TILES = st.integers(1, 70)


def picture(height: int, width: int, channels: int = 3) -> Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))


def run_tiled(network: Any, lq: Tensor, tile: int, scale: int = 1, overlap: int = 32) -> Tensor:
    return restore_pixels(network, lq, unit=1, scale=scale, tiling=Tiling(tile, overlap))


def enlarged(lq: Tensor, scale: int) -> Tensor:
    """A network that sees one pixel at a time."""
    return F.interpolate(1 - lq, scale_factor=scale, mode="nearest")


def smoothed(lq: Tensor) -> Tensor:
    """A network that sees the neighbours too, 3 pixels far; what is beyond the border counts as 0."""
    return F.avg_pool2d(lq, 7, stride=1, padding=3)


@given(SIZES, SIZES, TILES, st.integers(1, 4), st.sampled_from([1, 3]))
def test_pixel_by_pixel_it_is_the_whole_result(height: int, width: int, tile: int, scale: int, channels: int) -> None:
    lq = picture(height, width, channels)
    result = run_tiled(lambda part: enlarged(part, scale), lq, tile, scale)
    torch.testing.assert_close(result, enlarged(lq, scale), rtol=0, atol=1e-6)


@given(SIZES, SIZES, TILES, st.integers(0, 40))
def test_tiles_cover_all_and_are_few(height: int, width: int, tile: int, overlap: int) -> None:
    """Each pixel holds its own number, so that tiles tell where they are."""
    lq = torch.arange(height * width, dtype=torch.float32).reshape(1, 1, height, width)
    seen: set[int] = set()
    parts = []

    def restore(part: Tensor) -> Tensor:
        parts.append(part)
        seen.update(part.flatten().int().tolist())
        return part

    run_tiled(restore, lq, tile, 1, overlap)
    assert seen == set(range(height * width))
    side = -(-tile // 2) * 2  # an even multiple of the unit
    assert {tuple(part.shape[-2:]) for part in parts} == {(min(height, side), min(width, side))}
    # As few as the overlap allows.
    step = side - min(overlap, side // 2)
    assert len(parts) <= (height // step + 1) * (width // step + 1)


def test_what_fits_into_a_tile_is_not_changed_at_all() -> None:
    lq = picture(40, 30)
    parts = []
    result = run_tiled(lambda part: parts.append(part) or part, lq, 40, 1)
    assert len(parts) == 1
    assert torch.equal(result, lq)


@pytest.mark.parametrize(("tile", "overlap"), [(128, 32), (48, 12), (64, 32)])
def test_context_that_suffices_leaves_no_difference(tile: int, overlap: int) -> None:
    """A network that sees as far as the context beyond the blended zones, a quarter of the overlap, has no seams."""
    assert overlap // 4 >= 3
    lq = picture(200, 211)
    torch.testing.assert_close(run_tiled(smoothed, lq, tile, 1, overlap), smoothed(lq), rtol=0, atol=1e-6)


def test_too_little_context_shows_at_seams_only() -> None:
    lq = picture(200, 200)
    difference = (run_tiled(smoothed, lq, 50, 1, 0) - smoothed(lq)).abs().amax(dim=(0, 1))
    near = torch.zeros(200, dtype=torch.bool)
    for span in spans(200, 50, 0, 1):
        for piece in span.pieces:
            near[max(piece.core.start - 5, 0) : piece.core.start + 5] = True
    away = ~near[:, None] & ~near[None]
    assert away.float().mean() > 0.1
    # The rounding of sums.
    assert difference[away].max() < 1e-6
    assert difference.max() > 1e-4


def test_windows_wrap_around_as_in_the_whole_image() -> None:
    """What looks beyond one border of the image and finds the other, as shifted windows do, has no border effect."""

    def wrapping(lq: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(lq, (4, 4, 4, 4), mode="circular"), 9, stride=1)

    lq = picture(150, 170)
    torch.testing.assert_close(run_tiled(wrapping, lq, 64, 1), wrapping(lq), rtol=0, atol=1e-6)


def test_seams_fade() -> None:
    """Where two tiles contradict each other, one passes into the other, without a step."""
    answers = iter([0.0, 1.0])
    lq = torch.zeros(1, 1, 8, 100)
    result = run_tiled(lambda part: torch.full_like(part, next(answers)), lq, 88, 1)[0, 0, 0]
    # The first tile has both borders, the second the middle.
    assert (result[0], result[50], result[-1]) == (0, 1, 0)
    assert result.diff()[:50].min() >= 0
    assert result.diff()[50:].max() <= 0
    assert result.diff().abs().max() < 0.1


def test_rows_are_written_from_top_to_bottom() -> None:
    starts = []
    lq = torch.zeros(1, 1, 300, 100)

    class Rows(Tensor):
        def __setitem__(self, place: Any, values: Any) -> None:
            starts.append((place[1].start, place[1].stop))
            super().__setitem__(place, values)

    out = torch.empty_like(lq).as_subclass(Rows)
    restore_pixels(lambda part: part, lq, unit=1, scale=1, tiling=Tiling(64), out=out)
    assert starts[0][0] == 0
    assert [stop for _, stop in starts[:-1]] == [start for start, _ in starts[1:]]
    assert starts[-1][1] == 300


def test_tiles_are_of_one_size() -> None:
    grid = tiles(320, 96, 128, 32, 32)
    assert {(tile.rows.size, tile.columns.size) for row in grid for tile in row} == {(128, 96)}


def test_types_and_size_of_the_result() -> None:
    lq = picture(20, 50).double()
    result = run_tiled(lambda part: enlarged(part, 3), lq, 16, 3)
    assert (result.dtype, tuple(result.shape)) == (torch.float64, (1, 3, 60, 150))
