"""Normalisation of images by the statistics of their training data."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalisation(nn.Module):
    """Subtracts each channel's mean and divides by its standard deviation, and back. Adds nothing to a checkpoint.

    Args:
        mean: Mean of each channel, range 0..1.
        std: Standard deviation of each channel, range 0..1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in 0..1 -> normalised, same shape."""
        return (x - self.mean) / self.std

    def inverse(self, x: Tensor) -> Tensor:
        """(B, C, H, W) normalised -> in 0..1, same shape."""
        return x * self.std + self.mean
