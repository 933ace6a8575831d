"""Shifted windows of a channels-last map: gathered into rows of tokens, and scattered back."""

from typing import Any

import torch
from torch import Tensor


class Windows:
    """The windows of maps of one size: which of its pixels are the tokens of which window.

    Shifted windows wrap around the border.

    Args:
        x: Such a map, (B, H, W, C); H and W are multiples of M.
        window_size: Window side M, even.
        shift: Shift of the windows in pixels, 0 or M / 2.
    """

    def __init__(self, x: Tensor, window_size: int, shift: int) -> None:
        self.height, self.width = x.shape[1:3]
        self.window_size, self.shift = window_size, shift
        # A shift keeps half rows of windows together: they are moved as a whole.
        self.run = window_size // 2
        self.device = x.device
        self.orders: tuple[Tensor, Tensor] | None = None

    def _orders(self) -> tuple[Tensor, Tensor]:
        """Of each run of the windows its place in the map, and of each run of the map its place in the windows."""
        if self.orders is None:  # torch.compile knows no cached_property
            self.orders = self._find_orders()
        return self.orders

    def _find_orders(self) -> tuple[Tensor, Tensor]:
        height, runs, m, shift = self.height, self.width // self.run, self.window_size, self.shift
        y, x = torch.arange(height, device=self.device), torch.arange(runs, device=self.device)
        aside = 1 if shift else 0
        rows, columns = (y + shift) % height, (x + aside) % runs
        sources = rows.view(-1, 1, m, 1) * runs + columns.view(1, -1, 1, 2)
        # Inductor cannot take remainders of negative numbers.
        rows, columns = (y + height - shift) % height, (x + runs - aside) % runs
        above = rows // m * (runs // 2)
        targets = ((above[:, None] + columns // 2) * m + rows[:, None] % m) * 2 + columns % 2
        return sources.flatten(), targets.flatten()

    def gather(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B * windows, M^2, C)"""
        return self._reorder(x, *self._orders()).view(-1, self.window_size**2, x.shape[-1])

    def scatter(self, tokens: Tensor) -> Tensor:
        """(B * windows, M^2, C) -> (B, H, W, C), the inverse of `gather`."""
        sources, targets = self._orders()
        x = self._reorder(tokens, targets, sources)
        return x.view(-1, self.height, self.width, tokens.shape[-1])

    def _reorder(self, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        runs = x.reshape(-1, order.shape[0], self.run * x.shape[-1])
        if torch.is_grad_enabled() and x.requires_grad:
            reordered: Tensor = _Reorder.apply(runs, order, inverse)
            return reordered
        return runs.index_select(1, order)


class _Reorder(torch.autograd.Function):
    """`x.index_select(1, order)` for a permutation: its gradient is another one, not a sum into zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(order, inverse)
        return x.index_select(1, order)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        order, inverse = ctx.saved_tensors
        return _Reorder.apply(gradient, inverse, order), None, None
