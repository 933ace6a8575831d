"""Statistics of the whole image for the channel attentions of tiles.

Channel attention sees an image only through sums over its pixels, `channel_products`. Tiles that are given the sums of
the whole image compute what the whole image would give, but for the context that they miss.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ramit_arch.attention import ChannelAttention, channel_products

Averages: TypeAlias = dict[ChannelAttention, Tensor]
"""Channel attention -> averages over pixels of the products of every two channels, (1, n, n) float64."""

CHUNK = 2**15
"""Pixels of which queries and keys are computed at a time."""


class Complete(Exception):  # noqa: N818, it is no error
    """All statistics are recorded, and the rest of the forward pass is not needed."""


@dataclass
class Recording:
    """Statistics of tiles, added up while they go through the network.

    Attributes:
        sums: Weighted sums of each tile so far, (tiles, n, n) float64 in parts.
        counts: Weights of each tile so far, added up, (tiles) in parts.
    """

    sums: dict[ChannelAttention, list[Tensor]] = field(default_factory=dict)
    counts: dict[ChannelAttention, list[Tensor]] = field(default_factory=dict)

    def add(self, attention: ChannelAttention, sums: Tensor, counts: Tensor) -> None:
        """Add the sums (B, n, n) and counts (B) of a batch of tiles."""
        self.sums.setdefault(attention, []).append(sums)
        self.counts.setdefault(attention, []).append(counts)

    def averages(self, weights: Tensor | None = None) -> Averages:
        """Averages over all tiles, each with a weight (tiles)."""
        return {
            attention: average(torch.cat(parts), torch.cat(self.counts[attention]), weights)
            for attention, parts in self.sums.items()
        }


@dataclass
class Exchange:
    """Source of statistics during forward passes; see `StatisticsSource`.

    Attributes:
        given: Averages that the attentions use; None: those of the batch at hand, all its tiles together.
        correction: Added to the averages of the batch at hand, where none are given.
        recording: Where the statistics of the tiles go, unless None.
        mask: Weight of each pixel of the batch at hand, (B, H, W); None: 1.
        weights: Weight of each tile of the batch at hand, (B); None: 1.
        last: Number of channel attentions after which the pass ends with `Complete`; None: it goes on.
    """

    given: Averages | None = None
    correction: Averages | None = None
    recording: Recording | None = None
    mask: Tensor | None = None
    weights: Tensor | None = None
    last: int | None = None
    _seen: int = 0

    def products(self, attention: ChannelAttention, x: Tensor, project: Callable[[Tensor], Tensor]) -> Tensor:
        """Statistics for an attention, (1, n, n); see `StatisticsSource`.

        Raises:
            Complete: It was the last one.
        """
        if self.given is not None and self.recording is None:
            return self.given[attention].to(x.device)
        sums, counts = self._sums(x, project)
        if self.recording is not None:
            self.recording.add(attention, sums.cpu(), counts.cpu())
        self._seen += 1
        if self._seen == self.last:
            self._seen = 0
            raise Complete
        if self.given is not None:
            return self.given[attention].to(x.device)
        own = average(sums, counts, self.weights)
        return own if self.correction is None else corrected(own, self.correction[attention].to(x.device))

    def _sums(self, x: Tensor, project: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Weighted sums of each tile, (B, n, n) float64, and its weights added up, (B)."""
        mask = x.new_ones(x.shape[:3], dtype=torch.float32) if self.mask is None else self.mask.to(x.device)
        factor = mask.shape[1] // x.shape[1]
        if factor > 1:
            mask = F.avg_pool2d(mask, factor)
        sums = []
        for pixels, weights in zip(x.flatten(1, 2), mask.flatten(1), strict=True):
            parts = zip(pixels.split(CHUNK), weights.split(CHUNK), strict=True)
            # Added up in double precision, as the pixels are many.
            products = [channel_products(project(part)[None], weight[None]).double() for part, weight in parts]
            sums.append(torch.stack(products).sum(0)[0])
        return torch.stack(sums), mask.sum((1, 2), dtype=torch.float64)


def average(sums: Tensor, counts: Tensor, weights: Tensor | None = None) -> Tensor:
    """Average over tiles: sums (B, n, n), counts (B), weights of the tiles (B) -> (1, n, n)."""
    if weights is not None:
        weights = weights.to(sums)
        sums, counts = sums * weights[:, None, None], counts * weights
    return sums.sum(0, keepdim=True) / counts.sum()


def corrected(own: Tensor, correction: Tensor) -> Tensor:
    """Sum of averages and a correction, (1, n, n); no squared norm falls below a tenth of its own."""
    total = own + correction
    diagonal = torch.maximum(total.diagonal(dim1=1, dim2=2), 0.1 * own.diagonal(dim1=1, dim2=2))
    return total.diagonal_scatter(diagonal, dim1=1, dim2=2)


def channel_attentions(network: nn.Module) -> list[ChannelAttention]:
    """All channel attentions of a network; none if it has local operations only."""
    return [module for module in network.modules() if isinstance(module, ChannelAttention)]


@contextmanager
def exchanging(network: nn.Module, exchange: Exchange | None) -> Iterator[None]:
    """Let the channel attentions of a network take their statistics from an exchange; None: from their input."""
    attentions = channel_attentions(network) if exchange else []
    for attention in attentions:
        attention.statistics = exchange
    try:
        yield
    except Complete:
        pass
    finally:
        for attention in attentions:
            attention.statistics = None
