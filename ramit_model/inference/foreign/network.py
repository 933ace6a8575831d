"""Base of the networks that are found out from a file, and what is known of them."""

from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor, nn

from ramit_model.inference.padding import pad_to
from ramit_model.system.errors import InputError


class ForeignNetwork(nn.Module):
    """Network of others: images of any size from 1x1, (B, C, H, W) in 0..1 -> (B, C, H * scale, W * scale).

    Attributes:
        scale: Output size over input size.
        in_channels: Channels of input and output.
        size_unit: Multiple, in pixels, that height and width of an input must have.
        precisions: Precisions that it computes in, as `cost.precisions` of a benchmark names them.
        trains: Whether it has gradients and can be moved to a GPU.
        parameters_in_file: Number of parameters.
        description: Architecture and the program that knows it, for reports.
        path: The file.
    """

    trains = True

    def __init__(
        self,
        *,
        path: Path,
        description: str,
        scale: int,
        in_channels: int,
        size_unit: int,
        precisions: Collection[str],
        parameters_in_file: int,
    ) -> None:
        super().__init__()
        self.path, self.description = path, description
        self.scale, self.in_channels, self.size_unit = scale, in_channels, size_unit
        self.precisions = frozenset(precisions)
        self.parameters_in_file = parameters_in_file

    def padding(self, width: int, height: int) -> tuple[int, int]:
        """Columns and rows to add to an image."""
        return -width % self.size_unit, -height % self.size_unit

    def restore(self, image: Tensor) -> Tensor:
        """Restore images of a size that needs no padding."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Pad symmetrically, as the published evaluation of most networks does, restore, crop."""
        height, width = x.shape[-2:]
        right, below = self.padding(width, height)
        result = self.restore(pad_to(x, height + below, width + right))
        return result[..., : height * self.scale, : width * self.scale]


def versions_of(network_type: str) -> dict[str, str]:
    """Versions of the packages that compute a network of this type; those that are not installed are left out."""
    packages = {"spandrel": ("spandrel", "spandrel_extra_arches"), "onnx": ("onnxruntime",)}
    found = {}
    for package in packages[network_type]:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def existing(weights: str) -> Path:
    """Path of a file that is there.

    Raises:
        InputError: It is not.
    """
    path = Path(weights).expanduser()
    if not path.is_file():
        raise InputError(f"{weights}: no such file; check the path")
    return path


def random_image(channels: int, height: int, width: int) -> Tensor:
    """Noise (1, C, H, W) in 0..1, the same every time, without a change to PyTorch's generator."""
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))
