"""Statistics of the whole image for the channel attentions of tiles.

Channel attention sees an image only through sums over its pixels (`ramit_arch.attention.channel_products`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ramit_arch.attention import ChannelAttention, channel_products

CHUNK = 2**14


class SharedStatistics:
    """Sums of every channel attention of a network: added up over tiles, and handed to tiles.

    Attributes:
        given: Sums that tiles use; None: those of the batch at hand, all its tiles together.
        sums: Sums of the tiles computed so far; None: not added up.
    """

    def __init__(self, given: "dict[ChannelAttention, Tensor] | None" = None, *, record: bool = False) -> None:
        self.given = given
        self.sums: dict[ChannelAttention, Tensor] = {}
        self.record = record
        self.weights: Tensor | None = None  # (B, H, W)

    def products(self, attention: ChannelAttention, qk: Callable[[], Tensor]) -> Tensor:
        if self.given is None or self.record:
            y = qk()
            own = weighted_products(y, self._weights(y.shape[1])).sum(0, keepdim=True)
            self.sums[attention] = self.sums[attention] + own if attention in self.sums else own
        return self.given[attention] if self.given is not None else own

    def _weights(self, height: int) -> Tensor | None:
        if self.weights is None:
            return None
        factor = self.weights.shape[1] // height
        return F.avg_pool2d(self.weights[:, None], factor)[:, 0] if factor > 1 else self.weights

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        attentions = [module for module in network.modules() if isinstance(module, ChannelAttention)]
        for attention in attentions:
            attention.statistics = self
        try:
            yield
        finally:
            for attention in attentions:
                attention.statistics = None


def weighted_products(qk: Tensor, weight: Tensor | None) -> Tensor:
    """(B, H, W, n), (B, H, W) -> (B, n, n) float64"""
    total = qk.new_zeros(len(qk), qk.shape[-1], qk.shape[-1], dtype=torch.float64)
    flat = qk.flatten(1, 2)
    w = None if weight is None else weight.flatten(1, 2)
    for start in range(0, flat.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        total += channel_products(flat[:, part], None if w is None else w[:, part])
    return total
