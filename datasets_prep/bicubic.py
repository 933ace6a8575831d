"""MATLAB's bicubic `imresize` for whole-number downscaling, bit for bit on 8-bit images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]


def crop_to_multiple(image: Image, multiple: int) -> Image:
    """Cut rows and columns off at the bottom and the right until both sizes are multiples.

    Args:
        image: (H, W) or (H, W, C), at least `multiple` pixels high and wide.
        multiple: In pixels.

    Returns:
        A view, (H - H % multiple, W - W % multiple[, C]).
    """
    height, width = image.shape[:2]
    return image[: height - height % multiple, : width - width % multiple]


def downscale(image: Image, scale: int) -> Image:
    """Shrink by `imresize(image, 1 / scale)` of MATLAB: antialiased bicubic, a = -0.5, symmetric borders.

    MATLAB rounds integers after each of the two one-dimensional passes, of which the vertical one comes first.

    Args:
        image: (H, W) or (H, W, C) of uint8, uint16 or floats; H and W are multiples of `scale`.
        scale: From 1 up.

    Returns:
        (H / scale, W / scale[, C]), same dtype.

    Raises:
        ValueError: A size is no multiple of `scale`.
    """
    height, width = image.shape[:2]
    if height % scale or width % scale:
        raise ValueError(f"size {height}x{width} is no multiple of {scale}; crop it first")
    if scale == 1:
        return image.copy()
    for axis in (0, 1):
        image = _shrink_axis(image, scale, axis)
    return image


def _shrink_axis(image: Image, scale: int, axis: int) -> Image:
    """One pass of `downscale`. With a whole-number scale, every output pixel has the same weights."""
    weights = _kernel(scale)
    size = image.shape[axis] // scale
    # The kernel lies symmetrically over the `scale` input pixels of an output pixel.
    before = (len(weights) - scale) // 2
    padding = [(0, 0)] * image.ndim
    padding[axis] = (before, before)
    padded = np.moveaxis(np.pad(image, padding, mode="symmetric"), axis, 0)
    total = np.zeros((size, *padded.shape[1:]))
    for tap, weight in enumerate(weights):
        total += weight * padded[tap : tap + (size - 1) * scale + 1 : scale]
    total = np.moveaxis(total, 0, axis)
    if np.issubdtype(image.dtype, np.integer):
        total = np.clip(np.floor(total + 0.5), 0, np.iinfo(image.dtype).max)
    return total.astype(image.dtype)


def _kernel(scale: int) -> NDArray[np.float64]:
    """Weights of the input pixels around an output pixel, summing to 1; the kernel is zero two output pixels away."""
    taps = 4 * scale - scale % 2
    x = np.abs(np.arange(taps) - (taps - 1) / 2) / scale  # distance of the centres in output pixels
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x <= 1, near, far)
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised
