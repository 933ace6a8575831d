"""Check of an exported network: its output beside PyTorch's, at sizes that it was not traced with."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ramit_model.inference.padding import run_padded

Size = tuple[int, int, int]
"""Batch, height, width."""

SIZES: tuple[Size, ...] = ((1, 1, 1), (1, 5, 97), (2, 33, 70), (1, 64, 64), (1, 100, 52))
"""Tiny, flat, several images, whole windows, odd; none is `ramit_model.export.network.EXAMPLE`."""

BOUND, HALF_BOUND = 1e-4, 1e-2
"""Largest difference (of 1) from PyTorch in float64 of a float32 and of a float16 file."""


@dataclass(frozen=True)
class Difference:
    """Largest difference of a pixel between an exported network and PyTorch's in float64.

    Attributes:
        size: Batch, height and width of the input.
        largest: The difference, of 1 or of the largest value if that is above 1; NaN if a pixel is not finite.
        own: The same of PyTorch's network in float32: some weights magnify all rounding.
    """

    size: Size
    largest: float
    own: float = 0.0

    def within(self, bound: float) -> bool:
        """Whether it is within `bound`, or near to PyTorch's own."""
        return self.largest <= max(bound, 4 * self.own)

    def __str__(self) -> str:
        batch, height, width = self.size
        return f"{f'{batch} x ' if batch > 1 else ''}{width}x{height}: {self.largest:.1e}"


def differences(
    run: Callable[[np.ndarray], np.ndarray],
    network: nn.Module,
    *,
    unit: int,
    scale: int,
    channels: int,
    sizes: Sequence[Size] = SIZES,
) -> list[Difference]:
    """Run an exported network beside PyTorch's on the same images.

    Args:
        run: (B, C, H, W) float32 -> (B, C, H * scale, W * scale), the exported network.
        network: PyTorch's, float32, on the CPU.
        unit: Multiple of height and width that the network needs, in pixels.
        scale: Output size over input size.
        channels: Channels C of the images.
        sizes: Sizes to try.
    """
    # Rounding of PyTorch's own float32 would count as the other one's.
    exact = deepcopy(network).double()
    found = []
    for size in sizes:
        images = sample_images(size, channels)
        with torch.inference_mode():
            expected = run_padded(exact, torch.from_numpy(images).double(), unit, scale).numpy()
            own = run_padded(network, torch.from_numpy(images), unit, scale).numpy()
        result = run(images)
        if result.shape != expected.shape:
            found.append(Difference(size, float("inf")))
            continue
        # Rounding grows with the values; images restored by a trained network hardly exceed 1.
        unity = max(1.0, float(np.abs(expected).max()))
        largest, of_pytorch = (float(np.abs(y - expected).max()) / unity for y in (result, own))
        found.append(Difference(size, largest, of_pytorch))
    return found


def sample_images(size: Size, channels: int) -> np.ndarray:
    """Images of smooth shades with some noise, the same in every run: (B, C, H, W) float32, range 0..1."""
    batch, height, width = size
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, channels, height // 8 + 2, width // 8 + 2, generator=generator)
    shades = nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
    noise = 0.05 * torch.randn(batch, channels, height, width, generator=generator)
    return (shades + noise).clamp(0, 1).numpy()
