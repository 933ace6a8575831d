"""Restoring an image of any size: whole if it fits the memory at hand, else in tiles."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ramit_model.inference.estimation import Estimation, scattered
from ramit_model.inference.memory_model import fitting_pixels, largest_tile, most_pixels
from ramit_model.inference.pixels import Pixels, Sink, Source, result_like
from ramit_model.inference.precision import autocast
from ramit_model.inference.shared_statistics import Averages, Exchange, channel_attentions, exchanging
from ramit_model.inference.tiling import OVERLAP, SMALLEST_TILE, Tile, Tiling, blend, tiles
from ramit_model.system.memory import is_out_of_memory, release_freed_memory

Network: TypeAlias = nn.Module | Callable[[Tensor], Tensor]

AUTOMATIC = Tiling()

SAMPLE_TILE, SAMPLE_OVERLAP = 128, 32
"""Tiles by which statistics are estimated, LQ pixels: small, so that they come from everywhere."""

LEAST_SAMPLE = 16
"""Least number of them, as far as they fit the memory; beyond, a quarter of the image at most."""

Progress = Callable[[int, int], None]
"""Called with the pixels computed so far and those that there are to compute in all, context of tiles included."""


def restore_pixels(
    network: Network,
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
        network: Network on `device`, in eval mode: (B, C, H, W) in 0..1 -> (B, C, H * scale, W * scale). A module is
            run without its compiled form and its hooks, as sizes differ, and by one thread at a time.
        lq: Array (H, W, C) or (H, W), RGB or gray, uint8, uint16 or floats, or tensor (B, C, H, W); floats in 0..1.
        unit: Result of `size_unit` for the network.
        scale: Output size over input size.
        tiling: When to tile, and how.
        device: Device of the network; None: that of its parameters, or the CPU.
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
    device = torch.device(device) if device is not None else _device(network)
    result = result_like(lq, scale) if out is None else out
    source = Source(lq, unit)
    whole = max(source.height, source.width)
    fitting = fitting_pixels(network, scale, device)
    pixels = min(fitting, most_pixels(network, scale, device))
    tile = whole if tiling.tile is None else tiling.tile
    if tile == "auto":
        tile = whole if source.shape[0] * source.height * source.width <= fitting else largest_tile(pixels)
    if isinstance(lq, Tensor) and isinstance(result, Tensor) and len(lq) > 1 and tile < whole:
        # Images of a batch have their own statistics.
        alone = partial(restore_pixels, network, unit=unit, scale=scale, tiling=replace(tiling, tile=tile))
        for image, place in zip(lq.split(1), result.split(1), strict=True):
            alone(image, device=device, precision=precision, out=place, progress=progress)
        return result
    while True:
        overlap = min(OVERLAP, tile // 4) if tiling.overlap is None else tiling.overlap
        grid = tiles(source.height, source.width, tile, overlap, unit)
        job = _Job(network, source, Sink(result), unit, scale, device, precision, _Progress(progress))
        try:
            with torch.no_grad():
                _restore(job, grid, pixels * tiling.shared, tiling.passes)
            return result
        except Exception as error:
            smaller = -(-min(tile, whole) // 2 // unit) * unit
            if not is_out_of_memory(error) or tiling.tile is None or smaller < SMALLEST_TILE:
                raise
        # Outside of the handler, whose traceback keeps the memory.
        tile, pixels = smaller, min(pixels // 2, smaller**2)
        release_freed_memory()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _device(network: Network) -> torch.device:
    parameters = list(network.parameters()) if isinstance(network, nn.Module) else []
    return parameters[0].device if parameters else torch.device("cpu")


class _Progress:
    """Counts pixels computed, and those that there are to compute in all."""

    def __init__(self, callback: Progress | None) -> None:
        self.callback = callback
        self.done = self.total = 0

    def plan(self, pixels: int) -> None:
        self.total += pixels

    def add(self, pixels: int) -> None:
        self.done += pixels
        if self.callback:
            self.callback(self.done, self.total)


@dataclass(frozen=True)
class _Job:
    network: Network
    source: Source
    sink: Sink
    unit: int
    scale: int
    device: torch.device
    precision: str | None
    progress: _Progress

    def read(self, tile: Tile) -> Tensor:
        rows, columns = ([slice(piece.start, piece.stop) for piece in span.pieces] for span in tile)
        parts = [torch.cat([self.source.read(row, part, self.device) for part in columns], -1) for row in rows]
        return torch.cat(parts, -2)

    def run(self, lq: Tensor) -> Tensor:
        with autocast(self.device.type, self.precision):
            y: Tensor = self.network.forward(lq) if isinstance(self.network, nn.Module) else self.network(lq)
        return y

    def restore(self, tile: Tile) -> Tensor:
        result = self.run(self.read(tile)).float()
        self.progress.add(tile.pixels)
        return result


def _restore(job: _Job, grid: list[list[Tile]], pixels: int, passes: int | None) -> None:
    """Restore an image.

    Args:
        job: The image, and how it is restored.
        grid: Its tiles.
        pixels: Pixels that fit the memory together; 0: tiles share no statistics.
        passes: See `Tiling`.
    """
    every = [tile for row in grid for tile in row]
    area = sum(tile.pixels for tile in every)
    job.progress.plan(area)
    if not isinstance(job.network, nn.Module) or not channel_attentions(job.network) or len(every) == 1 or not pixels:
        _write(job, grid, job.restore)
    elif area <= pixels:
        with exchanging(job.network, Exchange(mask=torch.cat([tile.mask() for tile in every]))):
            results = iter(job.run(torch.cat([job.read(tile) for tile in every])).float().split(1))
        job.progress.add(area)
        _write(job, grid, lambda _: next(results))
    else:
        with exchanging(job.network, Exchange(_statistics(job, job.network, every, pixels, passes))):
            _write(job, grid, job.restore)


def _write(job: _Job, grid: list[list[Tile]], restore: Callable[[Tile], Tensor]) -> None:
    for top, rows in blend(grid, restore, job.scale):
        job.sink.write(top, 0, rows)


def _statistics(job: _Job, network: nn.Module, every: list[Tile], pixels: int, passes: int | None) -> Averages:
    """Statistics of the whole image, estimated by as many pixels at a time as fit the memory."""
    grid = tiles(job.source.height, job.source.width, SAMPLE_TILE, SAMPLE_OVERLAP, job.unit)
    rows, columns = len(grid), len(grid[0])
    size = grid[0][0].pixels
    count = max(min(pixels // size, max(rows * columns // 4, LEAST_SAMPLE)), 1)
    chosen = [row * columns + column for row, column in scattered(rows, columns, count)]
    sample_size = len(chosen) * size
    job.progress.plan(sample_size)
    estimation = Estimation(network, job.read, job.run, [tile for row in grid for tile in row], chosen)
    statistics = estimation.first()
    job.progress.add(sample_size)
    if passes is None:
        passes = estimation.passes()
    area = sum(tile.pixels for tile in every)
    job.progress.plan(passes * (area + sample_size))
    for _ in range(passes):
        statistics = estimation.refine(every, lambda tile: job.progress.add(tile.pixels))
        job.progress.add(sample_size)
    return statistics
