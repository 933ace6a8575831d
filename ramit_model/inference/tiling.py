"""Tiles of a large image: where they lie, and how they are blended.

Tiles begin at multiples of the network's size unit, so that its windows and down-sampled pixels are those of the whole
image.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

OVERLAP = 32
"""Default overlap of neighboring tiles, in LQ pixels."""

SMALLEST_TILE = 64
"""Smallest tile that is tried where memory runs out, in LQ pixels."""


@dataclass(frozen=True)
class Tiling:
    """How a large image is restored.

    Attributes:
        tile: Side of the tiles in LQ pixels, rounded up to the network's size unit; `auto`: the whole image if it fits
            the memory at hand, else the largest tiles that do; None: the whole image.
        overlap: Least overlap of neighboring tiles in LQ pixels, rounded up likewise, at most half a tile; None: the
            default.
    """

    tile: int | Literal["auto"] | None = "auto"
    overlap: int | None = None


class Span(NamedTuple):
    """One tile along one axis, in LQ pixels of the padded image.

    Attributes:
        start: First pixel.
        stop: End.
        core: Pixels that no other tile's core has; the cores of all tiles are the axis.
        shown: Pixels that enter the result: the core, and half of the zones where two tiles are blended.
    """

    start: int
    stop: int
    core: slice
    shown: slice


def spans(size: int, tile: int, overlap: int, unit: int) -> list[Span]:
    """Tiles along an axis, evenly spaced up to rounding to the unit, as few as the overlap allows.

    Args:
        size: Padded size, a multiple of the unit.
        tile: Side of a tile, rounded up to a multiple of the unit.
        overlap: Least overlap, rounded up likewise, at most half a tile.
        unit: Multiple for the first pixels of the tiles.
    """
    tile = min(-(-tile // unit) * unit, size)
    if tile == size:
        return [Span(0, size, slice(0, size), slice(0, size))]
    overlap = min(-(-overlap // unit) * unit, tile // 2 // unit * unit)
    count = math.ceil((size - overlap) / (tile - overlap))
    starts = [round(i * (size - tile) / (count - 1) / unit) * unit for i in range(count)]
    # The context beyond a blended zone is as wide as half the zone.
    borders = [0, *((start + previous + tile) // 2 for previous, start in pairwise(starts)), size]
    half = overlap // 4
    return [
        Span(
            start,
            start + tile,
            slice(first, last),
            slice(max(first - half, 0), min(last + half, size)),
        )
        for start, (first, last) in zip(starts, pairwise(borders), strict=True)
    ]


class Tile(NamedTuple):
    """Part of an image: one `Span` of the rows, one of the columns."""

    rows: Span
    columns: Span

    @property
    def pixels(self) -> int:
        """Number of pixels, context included."""
        return (self.rows.stop - self.rows.start) * (self.columns.stop - self.columns.start)


def tiles(height: int, width: int, tile: int, overlap: int, unit: int) -> list[list[Tile]]:
    """Tiles of a padded image, row by row; arguments as for `spans`."""
    columns = spans(width, tile, overlap, unit)
    return [[Tile(row, column) for column in columns] for row in spans(height, tile, overlap, unit)]


def blend(grid: list[list[Tile]], restore: Callable[[Tile], Tensor], scale: int) -> Iterator[tuple[int, Tensor]]:
    """Restore the tiles and put them together.

    Where two tiles meet, one passes linearly into the other; the weights add up to 1 at each pixel.

    Args:
        grid: Result of `tiles`.
        restore: Result of a tile, (B, C, h * scale, w * scale).
        scale: Output size over input size.

    Yields:
        First row of the result, and the rows (B, C, rows, padded width * scale) on the CPU that are complete.
    """
    width = grid[-1][-1].columns.stop
    rest: Tensor | None = None  # rows that the next row of tiles adds to
    for row, following in zip(grid, [*grid[1:], None], strict=True):
        shown = row[0].rows.shown
        band = torch.empty(0)
        for i, tile in enumerate(row):
            values = restore(tile)
            rows, columns = (
                slice((span.shown.start - span.start) * scale, (span.shown.stop - span.start) * scale) for span in tile
            )
            weight = fade(tile.rows, scale, values)[:, None] * fade(tile.columns, scale, values)
            values = (values[..., rows, columns] * weight).cpu()
            if i == 0:
                band = values.new_zeros(*values.shape[:-1], width * scale)
            band[..., tile.columns.shown.start * scale : tile.columns.shown.stop * scale] += values
            del values
        if rest is not None:
            band[..., : rest.shape[-2], :] += rest
        complete = ((following[0].rows.shown.start if following else shown.stop) - shown.start) * scale
        rest = band[..., complete:, :].clone()
        yield shown.start * scale, band[..., :complete, :]


def fade(span: Span, scale: int, like: Tensor) -> Tensor:
    """Weights of a tile's result along an axis, for the pixels of `span.shown`: 1, linear in blended zones.

    Args:
        span: Tile along the axis.
        scale: Output size over input size.
        like: Tensor whose device and type the weights get.
    """
    shown, core = span.shown, span.core
    position = torch.arange(shown.start * scale, shown.stop * scale, device=like.device, dtype=like.dtype) + 0.5
    weight = torch.ones_like(position)
    if core.start > shown.start:
        weight *= (position - shown.start * scale).div_(2 * (core.start - shown.start) * scale).clamp_(0, 1)
    if core.stop < shown.stop:
        weight *= (shown.stop * scale - position).div_(2 * (shown.stop - core.stop) * scale).clamp_(0, 1)
    return weight


def run_tiled(restore: Callable[[Tensor], Tensor], lq: Tensor, tile: int, scale: int) -> Tensor:
    """Restore tile by tile, blending tiles linearly where they overlap.

    The result differs slightly from that of the whole image if the network sees all of it, as channel attention does.

    Args:
        restore: (1, C, h, w) -> (1, C, h * scale, w * scale).
        lq: (1, C, H, W).
        tile: Largest h and w, pixels.
        scale: Output size over input size.

    Returns:
        (1, C, H * scale, W * scale), on the device of `lq`.
    """
    height, width = lq.shape[-2:]
    overlap = min(OVERLAP, tile // 4)
    result = lq.new_zeros(*lq.shape[:-2], height * scale, width * scale)
    total = lq.new_zeros(height * scale, width * scale)
    for top in _starts(height, tile, overlap):
        for left in _starts(width, tile, overlap):
            part = restore(lq[..., top : top + tile, left : left + tile]).to(lq.device)
            rows, columns = (
                slice(start * scale, start * scale + size)
                for start, size in zip((top, left), part.shape[-2:], strict=True)
            )
            weight = _fade(part.shape[-2], overlap * scale, lq)[:, None] * _fade(part.shape[-1], overlap * scale, lq)
            result[..., rows, columns] += part * weight
            total[rows, columns] += weight
    return result / total


def _starts(size: int, tile: int, overlap: int) -> list[int]:
    """First pixels of the tiles, evenly spaced up to rounding."""
    if size <= tile:
        return [0]
    count = math.ceil((size - overlap) / (tile - overlap))
    return [round(i * (size - tile) / (count - 1)) for i in range(count)]


def _fade(size: int, overlap: int, like: Tensor) -> Tensor:
    """Blending weights that rise from both ends of a tile, positive, shape (size,)."""
    position = torch.arange(1, size + 1, device=like.device, dtype=like.dtype)
    return torch.minimum(position, size + 1 - position).clamp(max=max(overlap, 1))
