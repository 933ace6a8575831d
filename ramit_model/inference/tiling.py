"""Restoring a large image in overlapping tiles, for small memory."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

OVERLAP = 32
"""Overlap of neighboring tiles, in LQ pixels; at most a quarter of a tile."""


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
