"""Windows of a channels-last map gathered by one index: shift and partition in one pass over memory, and back."""

from typing import Any

import torch
from torch import Tensor


class WindowGather:
    """Gather and scatter indices of the shifted windows of a map, in rows of half windows.

    Args:
        height: Height of the map, a multiple of M.
        width: Width of the map, a multiple of M.
        window_size: Window side M, even.
        shift: Cyclic shift of the windows in pixels, 0 or M / 2: it keeps rows of half a window together.
    """

    def __init__(self, height: int, width: int, window_size: int, shift: int) -> None:
        self.height, self.width, self.window_size = height, width, window_size
        m, half = window_size, window_size // 2
        rows_per_line, offset = width // half, 1 if shift else 0
        y, x = torch.arange(height), torch.arange(rows_per_line)
        ys, xs = (y + shift) % height, (x + offset) % rows_per_line
        self.gather_index = (ys.view(-1, 1, m, 1) * rows_per_line + xs.view(1, -1, 1, 2)).flatten()
        # Inductor cannot take remainders of negative numbers.
        ys, xs = (y + height - shift) % height, (x + rows_per_line - offset) % rows_per_line
        windows_above = ys // m * (rows_per_line // 2)
        index = ((windows_above[:, None] + xs // 2) * m + ys[:, None] % m) * 2 + xs % 2
        self.scatter_index = index.flatten()

    def gather(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B * windows, M^2, C), the same as `cyclic_shift` and `window_partition`."""
        x = self._permute(x, self.gather_index, self.scatter_index)
        return x.view(-1, self.window_size**2, x.shape[-1] // (self.window_size // 2))

    def scatter(self, tokens: Tensor) -> Tensor:
        """(B * windows, M^2, C) -> (B, H, W, C), the inverse of `gather`."""
        x = self._permute(tokens, self.scatter_index, self.gather_index)
        return x.view(-1, self.height, self.width, tokens.shape[-1])

    def _permute(self, x: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        rows = x.reshape(-1, index.shape[0], self.window_size // 2 * x.shape[-1])
        if torch.is_grad_enabled() and x.requires_grad:
            permuted: Tensor = _Permute.apply(rows, index, inverse)
            return permuted
        return rows.index_select(1, index)


class _Permute(torch.autograd.Function):
    """`x.index_select(1, index)` for a permutation: its gradient is another one, not a sum into zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(index, inverse)
        return x.index_select(1, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        index, inverse = ctx.saved_tensors
        return _Permute.apply(gradient, inverse, index), None, None
