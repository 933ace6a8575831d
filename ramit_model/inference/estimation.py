"""Estimating the statistics of a whole image that is restored in tiles.

The statistics of a channel attention depend on those of the attentions before it.

1. A sample of small tiles from all over the image goes through the network together; each attention uses the averages
   of all of them. They are weighted so that their brightness and its square have the averages of the whole image.
2. If an estimate of the error asks for it, all tiles go through the network with the averages found so far, and their
   own are recorded. Then the sample goes through once more: it tells how far the averages of the whole image move when
   those of earlier attentions do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ramit_model.inference.shared_statistics import (
    Averages,
    Exchange,
    Recording,
    channel_attentions,
    corrected,
    exchanging,
)
from ramit_model.inference.tiling import Tile

TARGET = 60.0
"""PSNR between the result of tiles and that of the whole image which is aimed at, dB."""

GAIN = 12.0
"""Least gain expected of a pass over all tiles, dB."""

MARGIN = 3.0
"""Subtracted from the estimate of the PSNR: halves of a sample have more in common than two samples, dB."""

MOST_PASSES = 2
"""Most passes over all tiles before the last one."""

PROBES = 4
"""Tiles by which the error is estimated."""


@dataclass
class Estimation:
    """Estimation of the statistics of one image.

    Attributes:
        network: Network with channel attentions.
        read: Tile -> (1, C, h, w).
        run: Forward pass.
        grid: Small tiles of the whole image, all of one size.
        chosen: Those that are the sample, by their place in `grid`.
    """

    network: nn.Module
    read: Callable[[Tile], Tensor]
    run: Callable[[Tensor], Tensor]
    grid: Sequence[Tile]
    chosen: Sequence[int]

    def __post_init__(self) -> None:
        self.count = len(channel_attentions(self.network))
        self.recording = Recording()
        self.used: Averages = {}
        self.sample = [self.grid[i] for i in self.chosen]
        described = torch.stack([describe(self.read(tile), tile.mask()) for tile in self.grid])  # (tiles, 3)
        self.described, self.whole = described[list(self.chosen)], described.sum(0)
        self.weights = calibrated(self.described, self.whole)

    def first(self) -> Averages:
        """Averages of the sample."""
        self._run_sample(None)
        return self.used

    def passes(self) -> int:
        """Passes over all tiles that the target needs, by an estimate of the error of `first`."""
        probes = torch.cat([self.read(tile) for tile in self.sample[: PROBES * 8 : 8] or self.sample[:1]])
        results = []
        for first in (0, 1):
            weights = torch.zeros_like(self.weights)
            weights[first::2] = calibrated(self.described[first::2], self.whole)
            with exchanging(self.network, Exchange(self.recording.averages(weights))):
                results.append(self.run(probes).float())
        error = float((results[0] - results[1]).square().mean())
        # The sample is twice as large as a half, and both halves err.
        error *= (1 - len(self.sample) / len(self.grid)) / 4
        psnr = -10 * torch.log10(torch.tensor(max(error, 1e-12))).item() - MARGIN
        missing = TARGET - psnr
        return min(max(-int(-missing // GAIN), 0), MOST_PASSES)

    def refine(self, tiles: Sequence[Tile], report: Callable[[Tile], None]) -> Averages:
        """Averages after one pass over all tiles.

        Args:
            tiles: All tiles of the image.
            report: Called after each tile.
        """
        recording = Recording()
        exchange = Exchange(self.used, recording=recording, last=self.count)
        for tile in tiles:
            exchange.mask = tile.mask()
            with exchanging(self.network, exchange):
                self.run(self.read(tile))
            report(tile)
        whole, part = recording.averages(), self.recording.averages(self.weights)
        self._run_sample({attention: whole[attention] - part[attention] for attention in whole})
        return self.used

    def _run_sample(self, correction: Averages | None) -> None:
        self.recording = Recording()
        tiles = torch.cat([self.read(tile) for tile in self.sample])
        mask = torch.cat([tile.mask() for tile in self.sample])
        exchange = Exchange(
            correction=correction, recording=self.recording, mask=mask, weights=self.weights, last=self.count
        )
        with exchanging(self.network, exchange):
            self.run(tiles)
        own = self.recording.averages(self.weights)
        self.used = own if correction is None else {key: corrected(own[key], correction[key]) for key in own}


def describe(tile: Tensor, mask: Tensor) -> Tensor:
    """Pixels of a tile (1, C, h, w) that a mask (1, h, w) counts, their brightness and its square, added up: (3)."""
    mask, brightness = mask.double(), tile.mean(1).cpu().double()
    return torch.stack([mask.sum(), (brightness * mask).sum(), (brightness.square() * mask).sum()])


def calibrated(sample: Tensor, whole: Tensor) -> Tensor:
    """Weights of the tiles of a sample, as even as possible, with which it has the averages of the whole image.

    Args:
        sample: Pixels of each tile and sums over them of what the averages are to be kept of, (tiles, n).
        whole: The same for the whole image, (n).

    Returns:
        (tiles), in 0.1..10
    """
    values = sample / sample[:, :1]  # begins with 1
    share = sample[:, 0] / sample[:, 0].sum()
    system = (values.T * share) @ values
    multipliers = torch.linalg.lstsq(system, whole / whole[0] - values.T @ share, driver="gelsd").solution
    return (1 + values @ multipliers).clamp(0.1, 10)


def scattered(rows: int, columns: int, count: int) -> list[tuple[int, int]]:
    """At most `count` different cells of a grid, evenly scattered: a lattice by the golden ratio.

    >>> scattered(2, 2, 9)
    [(0, 0), (0, 1), (1, 0), (1, 1)]
    """
    if count >= rows * columns:
        return [(row, column) for row in range(rows) for column in range(columns)]
    golden = 0.6180339887498949
    return sorted({(int((i + 0.5) / count * rows), int((i + 0.5) * golden % 1 * columns)) for i in range(count)})
