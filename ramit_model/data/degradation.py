"""Degradations applied on the fly: white Gaussian noise and gray, as pure functions."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TEST_SEED = 0
"""Seed of the published tests' noise, the same for every image."""


def to_gray(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert to gray by OpenCV's 8-bit RGB2GRAY (BT.601 weights, rounded), not the studio-range luma of YCbCr.

    Args:
        image: (H, W, 3) BGR, 0..255.

    Returns:
        (H, W, 1), 0..255. A gray image that was read as color comes back unchanged.
    """
    gray: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None]
    return gray


def add_blind_noise(x: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise of a level that is uniformly random for this patch.

    Args:
        x: (C, H, W), range 0..1.
        low: Lowest noise level, in 8-bit gray levels.
        high: Highest noise level.
        generator: Source of the level and of the noise.

    Returns:
        (C, H, W), not clipped: x + sigma / 255 * N(0, 1) with sigma ~ U(low, high).
    """
    sigma = low + (high - low) * torch.rand((), generator=generator)
    return x + torch.randn(x.shape, generator=generator) * (sigma / 255)


def add_test_noise(x: Tensor, sigma: float) -> Tensor:
    """Add the noise of the published tests: the same for every image of a size and every level.

    Args:
        x: (C, H, W), range 0..1, RGB or gray.
        sigma: Noise level, in 8-bit gray levels.

    Returns:
        (C, H, W), not clipped.
    """
    generator = torch.Generator().manual_seed(TEST_SEED)
    return x + torch.randn(x.shape, generator=generator) * sigma / 255
