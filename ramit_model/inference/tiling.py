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

OVERLAP = 64
"""Default overlap of neighboring tiles, in LQ pixels; a quarter of a tile that is smaller than four times as much."""

SMALLEST_TILE = 64
"""Smallest tile that is tried where memory runs out, in LQ pixels."""


@dataclass(frozen=True)
class Tiling:
    """How a large image is restored.

    Attributes:
        tile: Side of the tiles in LQ pixels, rounded up to twice the network's size unit; `auto`: the whole image if
            it fits the memory at hand, else the largest tiles that do; None: the whole image.
        overlap: Least overlap of neighboring tiles in LQ pixels, rounded up to the size unit, at most half a tile;
            None: the default.
        shared: Whether channel attentions see the statistics of the whole image, not those of a tile.
        passes: Passes over all tiles to estimate these statistics, before the one that restores; None: up to two, as
            many as an estimate of the error asks for.
    """

    tile: int | Literal["auto"] | None = "auto"
    overlap: int | None = None
    shared: bool = True
    passes: int | None = None


class Piece(NamedTuple):
    """Adjacent pixels of a tile along one axis, in LQ pixels of the padded image.

    Attributes:
        start: First pixel.
        stop: End.
        offset: Place of the first pixel in the tile.
        core: Pixels that no other tile's core has; the cores of all tiles are the axis.
        shown: Pixels that enter the result: the core, and half of the zones where two tiles are blended.
    """

    start: int
    stop: int
    offset: int
    core: slice
    shown: slice


class Span(NamedTuple):
    """One tile along one axis: one piece, or two at the first and the last pixels of the image.

    Shifted windows wrap around the borders of the image. So a tile at one border must have the other, too: its windows
    then wrap around as those of the whole image, and its own ends are borders of the image.
    """

    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """Pixels of the tile."""
        return sum(piece.stop - piece.start for piece in self.pieces)

    def mask(self) -> Tensor:
        """Weights (size,) that count the pixels of the core: 1, and 0 elsewhere."""
        weight = torch.zeros(self.size)
        for piece in self.pieces:
            weight[piece.core.start - piece.start + piece.offset : piece.core.stop - piece.start + piece.offset] = 1
        return weight

    def fade(self, scale: int) -> Tensor:
        """Weights (size * scale,) for a result: 1 in the core, linear where tiles are blended, 0 elsewhere."""
        weight = torch.zeros(self.size * scale)
        for start, stop, offset, core, shown in self.pieces:
            position = torch.arange(start * scale, stop * scale) + 0.5
            part = ((position > shown.start * scale) & (position < shown.stop * scale)).float()
            if core.start > shown.start:
                part *= ((position - shown.start * scale) / (2 * (core.start - shown.start) * scale)).clamp(0, 1)
            if core.stop < shown.stop:
                part *= ((shown.stop * scale - position) / (2 * (shown.stop - core.stop) * scale)).clamp(0, 1)
            weight[offset * scale : (offset + stop - start) * scale] = part
        return weight


def spans(size: int, tile: int, overlap: int, unit: int) -> list[Span]:
    """Tiles along an axis, evenly spaced up to rounding to the unit, as few as the overlap allows.

    Args:
        size: Padded size, a multiple of the unit.
        tile: Side of a tile, rounded up to an even multiple of the unit.
        overlap: Least overlap, rounded up to a multiple of the unit, at most half a tile.
        unit: Multiple for the first pixels of the tiles.

    Returns:
        The tile at both borders first, then the others in order.
    """
    tile = -(-tile // (2 * unit)) * 2 * unit
    if tile >= size:
        whole = slice(0, size)
        return [Span((Piece(0, size, 0, whole, whole),))]
    half = tile // 2
    overlap = min(-(-overlap // unit) * unit, half // unit * unit)
    count = math.ceil(size / (tile - overlap))
    starts = [round((i * size / count - half) / unit) * unit for i in range(1, count)]
    starts = [min(max(start, 0), size - tile) for start in starts]
    ends = [(0, half), *((start, start + tile) for start in starts), (size - half, size)]
    borders = [0, *((following[0] + previous[1]) // 2 for previous, following in pairwise(ends)), size]
    # Beyond a blended zone there is context, on either side half as wide as the zone.
    zone = overlap // 4
    pieces = [
        Piece(start, stop, 0, slice(*core), slice(max(core[0] - zone, 0), min(core[1] + zone, size)))
        for (start, stop), core in zip(ends, pairwise(borders), strict=True)
    ]
    first, *middle, last = pieces
    return [Span((first, last._replace(offset=half))), *(Span((piece,)) for piece in middle)]


class Tile(NamedTuple):
    """Part of an image: one `Span` of the rows, one of the columns."""

    rows: Span
    columns: Span

    @property
    def pixels(self) -> int:
        """Number of pixels, context included."""
        return self.rows.size * self.columns.size

    def mask(self) -> Tensor:
        """Weights (1, h, w) that count each pixel of the image in one tile only."""
        return torch.outer(self.rows.mask(), self.columns.mask())[None]


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
        First row of the result, and the rows (B, C, rows, padded width * scale) on the CPU that are complete, from top
        to bottom.
    """
    first, *middle = (row[0].rows.pieces for row in grid)
    pieces = [first[0], *(piece for (piece,) in middle), *first[1:]]
    ends = [piece.shown.start for piece in pieces[1:]] + [pieces[-1].shown.stop]
    rest: Tensor | None = None  # rows that the next piece adds to
    for piece, end, rows in zip(pieces, ends, _rows(grid, restore, scale), strict=True):
        if rest is not None:
            rows[..., : rest.shape[-2], :] += rest
        done = (end - piece.shown.start) * scale
        yield piece.shown.start * scale, rows[..., :done, :]
        rest = rows[..., done:, :].clone()
        del rows  # frees its memory while the next tiles are restored


def _rows(grid: list[list[Tile]], restore: Callable[[Tile], Tensor], scale: int) -> Iterator[Tensor]:
    """Weighted rows that each piece shows, from top to bottom."""
    last: list[Tensor] = []
    for row in grid:
        band = _band(row, restore, scale)
        first, *others = row[0].rows.pieces
        # The first tiles have the last rows, too.
        last += [_shown(band, piece, scale).clone() for piece in others]
        shown = _shown(band, first, scale)
        del band
        yield shown
        del shown
    yield from last


def _shown(band: Tensor, piece: Piece, scale: int) -> Tensor:
    start = piece.shown.start - piece.start + piece.offset
    return band[..., start * scale : (start + piece.shown.stop - piece.shown.start) * scale, :]


def _band(row: list[Tile], restore: Callable[[Tile], Tensor], scale: int) -> Tensor:
    """Weighted sum of a row of tiles, as wide as the image: (B, C, rows of the tiles * scale, width * scale)."""
    width = max(piece.stop for tile in row for piece in tile.columns.pieces)
    fade = row[0].rows.fade(scale)[:, None]
    band = torch.empty(0)
    for i, tile in enumerate(row):
        values = restore(tile)
        values = (values * (fade * tile.columns.fade(scale)).to(values)).cpu()
        if i == 0:
            band = values.new_zeros(*values.shape[:-1], width * scale)
        for piece in tile.columns.pieces:
            size = piece.stop - piece.start
            part = values[..., piece.offset * scale : (piece.offset + size) * scale]
            band[..., piece.start * scale : piece.stop * scale] += part
    return band
