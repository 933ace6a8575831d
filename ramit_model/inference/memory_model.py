"""Memory that a network needs for an image, and how many pixels fit the memory at hand."""

import math
from collections.abc import Sequence

import torch

from ramit_arch import NGswin, RAMiT
from ramit_arch.bands import LARGE
from ramit_arch.kernels.cpu.library import library
from ramit_model.inference.tiling import SMALLEST_TILE
from ramit_model.system.errors import NotEnoughMemoryError
from ramit_model.system.memory_at_hand import memory_at_hand

GIGA = 10**9

SHARE = 0.8
"""Share of the memory at hand that is planned with."""

TILED = 2 * 1024**3
"""Memory that tiles take at most, bytes: what fits it is enough, and the whole image does not fit anyway."""

LARGEST_TILE = 1024
"""Side of the largest tile that is chosen, LQ pixels; larger ones save little context."""

MAPS_WITH_KERNELS, MAPS = 6.2, 29.0
"""Maps of a network's width that RAMiT has at the peak, with and without the kernels for CPUs (measured)."""

RESULT = 45
"""Bytes that RAMiT takes beyond for each pixel of the result (measured)."""

OTHER_MAPS = 43.0
"""Maps of a width of 64 channels that NGswin has at the peak (measured), and any other network is expected to have."""


def bytes_per_pixel(network: object, scale: int, device: torch.device) -> float:
    """Peak memory of a float32 forward pass without gradients for each pixel of a large padded input, about.

    Autocast makes some maps smaller and adds copies of others: less is not counted on.
    """
    if not isinstance(network, RAMiT):
        return OTHER_MAPS * 64 * 4
    maps = MAPS_WITH_KERNELS if device.type == "cpu" and library() is not None else MAPS
    return maps * network.settings.dim * 4 + RESULT * scale**2


def fitting_pixels(network: object, scale: int, device: torch.device) -> int:
    """Pixels of the input that fit the memory at hand together."""
    return int(SHARE * free_memory(device) / bytes_per_pixel(network, scale, device))


def most_pixels(network: object, scale: int, device: torch.device) -> int:
    """Pixels that tiles may have together at a time, however much memory there is."""
    return int(TILED / bytes_per_pixel(network, scale, device))


def largest_tile(pixels: int) -> int:
    """Side of the largest tile with as many pixels, in steps of the smallest."""
    side = min(math.isqrt(max(pixels, 0)), LARGEST_TILE)
    return max(side // SMALLEST_TILE, 1) * SMALLEST_TILE


def check_memory(network: object, shape: Sequence[int], unit: int, scale: int, device: torch.device) -> None:
    """Refuse a whole image on a CPU that would have the process killed. On GPUs, running out of memory is an error.

    Only what is known well is refused: RAMiT and NGswin.

    Args:
        network: The network.
        shape: Batch, channels, height and width of the image.
        unit: Multiple that it is padded to, pixels.
        scale: Output size over input size.
        device: Device of the network.

    Raises:
        NotEnoughMemoryError: It needs more memory than is at hand.
    """
    batch, _, height, width = shape
    padded = batch * (-(-height // unit) * unit) * (-(-width // unit) * unit)
    if device.type != "cpu" or not isinstance(network, RAMiT | NGswin) or padded < LARGE:
        return
    needed, free = padded * bytes_per_pixel(network, scale, device), free_memory(device)
    if needed > free:
        raise NotEnoughMemoryError(
            f"val.tile: ~: {width}x{height} pixels need about {needed / GIGA:.1f} GB of memory as a whole, and "
            f"{free / GIGA:.1f} GB are at hand; write auto to restore them in tiles"
        )


def free_memory(device: torch.device) -> int:
    """Bytes that computing on a device can still take."""
    if device.type != "cuda":
        return memory_at_hand()
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
