"""Restoring in tiles: what looks at single pixels gives the whole image's result, and no tile is too large."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from ramit_model.inference.tiling import OVERLAP, run_tiled

SIZES = st.integers(1, 90)
TILES = st.integers(1, 70)


def picture(height: int, width: int, channels: int = 3) -> Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))


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


@given(SIZES, SIZES, TILES)
def test_tiles_cover_all_and_none_is_too_large(height: int, width: int, tile: int) -> None:
    """Each pixel holds its own number, so that tiles tell where they are."""
    lq = torch.arange(height * width, dtype=torch.float32).reshape(1, 1, height, width)
    seen: set[int] = set()
    tiles = []

    def restore(part: Tensor) -> Tensor:
        tiles.append(part)
        seen.update(part.flatten().int().tolist())
        return part

    run_tiled(restore, lq, tile, 1)
    assert seen == set(range(height * width))
    assert {tuple(part.shape[-2:]) for part in tiles} == {(min(height, tile), min(width, tile))}
    # As few as the overlap allows.
    step = max(tile - min(OVERLAP, tile // 4), 1)
    assert len(tiles) <= (height // step + 1) * (width // step + 1)


def test_what_fits_into_a_tile_is_not_changed_at_all() -> None:
    """It is one part, only faded and divided again."""
    lq = picture(40, 30)
    parts = []
    result = run_tiled(lambda part: parts.append(part) or part, lq, 40, 1)
    assert len(parts) == 1
    torch.testing.assert_close(result, lq, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("tile", "overlap"), [(128, 32), (48, 12)])
def test_only_seams_differ_where_neighbours_count(tile: int, overlap: int) -> None:
    lq = picture(200, 200)
    difference = (run_tiled(smoothed, lq, tile, 1) - smoothed(lq)).abs().amax(dim=(0, 1))
    count = -(-(200 - overlap) // (tile - overlap))
    starts = [round(i * (200 - tile) / (count - 1)) for i in range(count)]
    near = torch.zeros(200, dtype=torch.bool)
    for start in starts:
        for end in (start, start + tile):
            near[max(end - 3, 0) : end + 3] = True
    away = ~near[:, None] & ~near[None]
    assert away.float().mean() > 0.1
    # The rounding of sums and of a division.
    assert difference[away].max() < 1e-6
    # And at a seam, the tile that ends there has little weight.
    assert 1e-4 < difference.max() < 0.2


def test_seams_fade() -> None:
    """Where two tiles contradict each other, one passes into the other, without a step."""
    answers = iter([0.0, 1.0])
    lq = torch.zeros(1, 1, 8, 100)
    result = run_tiled(lambda part: torch.full_like(part, next(answers)), lq, 60, 1)[0, 0, 0]
    assert (result[0], result[-1]) == (0, 1)
    steps = result.diff()
    assert steps.min() >= 0
    assert steps.max() < 0.1


def test_types_and_size_of_the_result() -> None:
    lq = picture(20, 50).double()
    result = run_tiled(lambda part: enlarged(part, 3), lq, 16, 3)
    assert (result.dtype, tuple(result.shape)) == (torch.float64, (1, 3, 60, 150))
