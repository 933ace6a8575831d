"""Statistics of the training data, and the normalisation of images by them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

SR_MEAN = (0.4485, 0.4375, 0.4045)
SR_STD = {2: (0.2397, 0.2290, 0.2389), 3: (0.2373, 0.2265, 0.2367), 4: (0.2352, 0.2244, 0.2349)}
STATISTICS = {
    "CDN": ((0.4775, 0.4515, 0.4047), (0.2442, 0.2367, 0.2457)),
    "GDN": ((0.4539,), (0.2326,)),
    "LLE": ((0.1687, 0.1599, 0.1526), (0.1142, 0.1094, 0.1094)),
    "DR": ((0.5110, 0.5105, 0.4877), (0.2313, 0.2317, 0.2397)),
}
"""Mean and standard deviation of each task's training data, RGB or gray, range 0..1."""


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
