"""Restoring an image of any size: whole if it fits the memory at hand, else in tiles."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ramit_model.inference.memory_model import largest_tile
from ramit_model.inference.pixels import Pixels, Sink, Source, result_like
from ramit_model.inference.precision import autocast
from ramit_model.inference.tiling import OVERLAP, SMALLEST_TILE, Tile, Tiling, blend, tiles
from ramit_model.system.memory import is_out_of_memory, release_freed_memory

AUTOMATIC = Tiling()

Progress = Callable[[int, int], None]
"""Called with the pixels computed so far and those that there are to compute in all, context of tiles included."""


def restore_pixels(
    network: nn.Module,
    lq: Pixels,
    *,
    unit: int,
    scale: int,
    tiling: Tiling = AUTOMATIC,
    device: torch.device | str | None = None,
    precision: str | None = None,
    out: Pixels | None = None,
    progress: Progress | None = None,
) -> Pixels:
    """Restore one image, which stays in host memory; the network gets it whole or tile by tile.

    Args:
        network: Network on `device`, in eval mode: (B, C, H, W) in 0..1 -> (B, C, H * scale, W * scale).
        lq: Array (H, W, C) or (H, W), RGB or gray, uint8, uint16 or floats, or tensor (B, C, H, W); floats in 0..1.
        unit: Result of `size_unit` for the network.
        scale: Output size over input size.
        tiling: When to tile, and how.
        device: Device of the network; None: that of its parameters.
        precision: One of `PRECISIONS`; None: float32.
        out: Array or memory map for the result, (H * scale, W * scale[, C]) of integers or floats; a tensor if `lq` is
            one. None: a new one of the type of `lq`.
        progress: See `Progress`.

    Returns:
        `out`. Floats are not clamped; integers are clamped to 0..1 and rounded, half to even.

    Raises:
        torch.OutOfMemoryError, RuntimeError, MemoryError: Not even the smallest tiles fit, or the whole image does not
            and `tiling.tile` is None. `is_out_of_memory` tells.
    """
    device = torch.device(device) if device is not None else next(network.parameters()).device
    result = result_like(lq, scale) if out is None else out
    source = Source(lq, unit)
    job = _Job(network, source, Sink(result), unit, scale, device, precision, progress)
    whole = max(source.height, source.width)
    tile = whole if tiling.tile is None else tiling.tile
    if tile == "auto":
        tile = largest_tile(network, source, scale, device, precision)
    overlap = OVERLAP if tiling.overlap is None else tiling.overlap
    while True:
        try:
            with torch.no_grad():
                _restore(job, tile, overlap)
            return result
        except Exception as error:
            smaller = -(-min(tile, whole) // 2 // unit) * unit
            if not is_out_of_memory(error) or tiling.tile is None or smaller < SMALLEST_TILE:
                raise
        # Outside of the handler, whose traceback keeps the memory.
        tile = smaller
        release_freed_memory()
        if device.type == "cuda":
            torch.cuda.empty_cache()


@dataclass(frozen=True)
class _Job:
    network: Callable[[Tensor], Tensor]
    source: Source
    sink: Sink
    unit: int
    scale: int
    device: torch.device
    precision: str | None
    progress: Progress | None

    def read(self, tile: Tile) -> Tensor:
        rows, columns = (slice(span.start, span.stop) for span in tile)
        return self.source.read(rows, columns, self.device)

    def run(self, lq: Tensor) -> Tensor:
        with autocast(self.device.type, self.precision):
            return self.network(lq)

    def report(self, done: int, total: int) -> None:
        if self.progress:
            self.progress(done, total)


def _restore(job: _Job, tile: int, overlap: int) -> None:
    source = job.source
    grid = tiles(source.height, source.width, tile, overlap, job.unit)
    if len(grid) == len(grid[0]) == 1:
        job.sink.write(0, 0, job.run(job.read(grid[0][0])))
        job.report(source.height * source.width, source.height * source.width)
        return
    done, total = 0, sum(tile.pixels for row in grid for tile in row)

    def restore(tile: Tile) -> Tensor:
        nonlocal done
        result = job.run(job.read(tile)).float()
        done += tile.pixels
        job.report(done, total)
        return result

    for top, rows in blend(grid, restore, job.scale):
        job.sink.write(top, 0, rows)
