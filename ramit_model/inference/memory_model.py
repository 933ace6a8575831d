"""Memory that a network needs for an image, and the largest tile that fits the memory at hand."""

import math
from typing import Any

import torch

from ramit_model.inference.pixels import Source
from ramit_model.inference.tiling import SMALLEST_TILE
from ramit_model.system.memory_at_hand import memory_at_hand

BYTES_PER_PIXEL = 5000
"""Peak memory of a forward pass for each pixel of the padded input, at most."""

SHARE = 0.8
"""Share of the memory at hand that is planned with."""


def largest_tile(network: Any, source: Source, scale: int, device: torch.device, precision: str | None) -> int:
    """Side of the largest tile that fits the memory at hand, LQ pixels; at least that of the image if it fits whole."""
    batch, *_ = source.shape
    pixels = SHARE * free_memory(device) / BYTES_PER_PIXEL / batch
    whole = max(source.height, source.width)
    if source.height * source.width <= pixels:
        return whole
    side = int(math.sqrt(pixels))
    return min(max(side, SMALLEST_TILE), whole // 2)


def free_memory(device: torch.device) -> int:
    """Bytes that computing on a device can still take."""
    if device.type != "cuda":
        return memory_at_hand()
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
