"""Images in host memory as restoration reads and writes them: piece by piece, integers or floats, any size."""

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ramit_model.inference.padding import mirror_index

Pixels = TypeVar("Pixels", NDArray[Any], Tensor)
"""Array (H, W, C) or (H, W) of uint8, uint16 or floats, or tensor (B, C, H, W) of floats; floats in 0..1."""


class NotFiniteError(ArithmeticError):
    """A network's result has values that are not finite (NaN or Inf)."""


class Source:
    """Input image, enlarged at the right and the bottom by symmetric padding, of which any piece can be read.

    Only pieces are converted and moved to the device.

    Args:
        pixels: See `Pixels`.
        unit: Multiple for the padded height and width, in pixels.

    Attributes:
        shape: Batch, channels, height and width, without padding.
        height: Padded height.
        width: Padded width.
    """

    def __init__(self, pixels: NDArray[Any] | Tensor, unit: int) -> None:
        self.pixels = pixels
        if isinstance(pixels, Tensor):
            batch, channels, height, width = pixels.shape
        else:
            (height, width), batch, channels = pixels.shape[:2], 1, pixels.shape[2] if pixels.ndim == 3 else 1
            self.largest = _largest(pixels.dtype)
        self.shape = batch, channels, height, width
        self.height, self.width = (-(-size // unit) * unit for size in (height, width))

    def read(self, rows: slice, columns: slice, device: torch.device) -> Tensor:
        """Piece of the padded image, (B, C, h, w) float32 in 0..1, on a device."""
        lines, places = (
            None if part.stop <= size else mirror_index(size, part.stop)[part.start :]
            for part, size in zip((rows, columns), self.shape[2:], strict=True)
        )
        if isinstance(self.pixels, Tensor):
            piece, there = self.pixels, self.pixels.device
            piece = piece[..., rows, :] if lines is None else piece.index_select(-2, lines.to(there))
            piece = piece[..., columns] if places is None else piece.index_select(-1, places.to(there))
            return piece.to(device)
        array = self.pixels[rows] if lines is None else self.pixels[lines.numpy()]
        array = array[:, columns] if places is None else array[:, places.numpy()]
        array = array.astype(np.float32)
        if self.largest:
            array /= np.float32(self.largest)
        array = array[None, None] if array.ndim == 2 else array.transpose(2, 0, 1)[None]
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)


class Sink:
    """Output image, written piece by piece.

    Args:
        out: Array (H, W, C) or (H, W), which may be a memory map, or tensor (B, C, H, W). Integers: values are clipped
            to 0..1 and rounded, half to even.
    """

    def __init__(self, out: NDArray[Any] | Tensor) -> None:
        self.out = out
        self.size = out.shape[-2:] if isinstance(out, Tensor) else out.shape[:2]

    def write(self, top: int, left: int, values: Tensor) -> None:
        """Write values (B, C, h, w) that begin at a pixel; what lies beyond the image is left out.

        Raises:
            NotFiniteError: Values for an array are not finite.
        """
        height, width = self.size
        values = values[..., : max(height - top, 0), : max(width - left, 0)]
        rows, columns = slice(top, top + values.shape[-2]), slice(left, left + values.shape[-1])
        if isinstance(self.out, Tensor):
            self.out[..., rows, columns] = values.to(self.out.device)
            return
        values = values.float()  # of a low precision, 255 steps would not be left
        if not values.isfinite().all():
            raise NotFiniteError("the network's result is not finite (NaN or Inf)")
        largest = _largest(self.out.dtype)
        if largest:
            values = values.clamp(0, 1).mul_(largest).round_()
        array = values[0].cpu().permute(1, 2, 0).numpy()
        self.out[rows, columns] = array[..., 0] if self.out.ndim == 2 else array


def result_like(pixels: Pixels, scale: int) -> Pixels:
    """Empty result for an input: as large as `scale` says, of the same kind and type."""
    if isinstance(pixels, Tensor):
        *rest, height, width = pixels.shape
        return pixels.new_empty(*rest, height * scale, width * scale)
    return np.empty((pixels.shape[0] * scale, pixels.shape[1] * scale, *pixels.shape[2:]), pixels.dtype)


def _largest(kind: np.dtype[Any]) -> int | None:
    """Value that 1.0 stands for in an integer type; None for floats."""
    return int(np.iinfo(kind).max) if np.issubdtype(kind, np.integer) else None
