"""MATLAB's bicubic `imresize` for whole-number downscaling, bit for bit on 8-bit images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]

ROWS = 8
"""Output rows computed at a time: their input fits in a core's cache, and memory does not grow with the height."""

MARGIN = 2
"""Output pixels around a part of the result whose input the part depends on: the kernel is zero further away."""


def crop_to_multiple(image: Image, multiple: int) -> Image:
    """Cut rows and columns off at the bottom and the right until both sizes are multiples.

    Args:
        image: (H, W) or (H, W, C).
        multiple: In pixels.

    Returns:
        A view, (H - H % multiple, W - W % multiple[, C]); empty where the image is smaller than `multiple`.
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
        ValueError: A size is 0 or not a multiple of `scale`.
    """
    height, width = image.shape[:2]
    if height % scale or width % scale:
        raise ValueError(f"size {height}x{width} is not a multiple of {scale}; crop it first")
    if not height or not width:
        raise ValueError(f"size {height}x{width} has no pixels; an image must be at least {scale}x{scale}")
    if scale == 1:
        return image.copy()
    weights = _kernel(scale)
    if image.dtype == np.uint8 and scale in (2, 3, 4):
        # float32 is faster and rounds to the same integers. Scales 2 and 4: the weights are multiples of 1/4096 and all
        # sums are below 512, which takes 21 of the 24 bits. Scale 3: the weights are multiples of 1/81, so that a sum
        # is at least 1/162 away from a half, and the error of 11 products and sums below 512 is less than 1/1000.
        weights = weights.astype(np.float32)
    rows, columns = _phases(height, scale), _phases(width, scale)
    small = np.empty((height // scale, width // scale, *image.shape[2:]), image.dtype)
    for top in range(0, len(small), ROWS):
        block = _shrink(image[rows[:, top : top + ROWS + 3]][np.newaxis], weights)[0]
        # All indices are valid; with mode="raise" numpy would be slower.
        small[top : top + ROWS] = _shrink(block.take(columns, axis=1, mode="clip"), weights)
    return small


def downscale_part(image: Image, scale: int, rows: slice, columns: slice) -> Image:
    """Compute a part of what `downscale` makes of an image, from the input around the part alone.

    Args:
        image: (H, W) or (H, W, C), as `downscale` takes it.
        scale: From 1 up.
        rows: Rows of the result, with a start and a stop inside it.
        columns: Columns of the result, likewise.

    Returns:
        `downscale(image, scale)[rows, columns]`, bit for bit.
    """
    around = [slice(max(0, part.start - MARGIN), part.stop + MARGIN) for part in (rows, columns)]
    taken = tuple(slice(part.start * scale, part.stop * scale) for part in around)
    small = downscale(image[taken], scale)
    inner = (slice(p.start - a.start, p.stop - a.start) for p, a in zip((rows, columns), around, strict=True))
    return small[tuple(inner)]


def _phases(length: int, scale: int) -> NDArray[np.intp]:
    """Indices of the input pixels under the kernel along an axis, mirrored at the borders.

    Returns:
        (scale, length / scale + 3): tap `t` of output pixel `i` lies at [t % scale, t // scale + i], so that the pixels
        that meet one weight are neighbours.
    """
    # The kernel lies symmetrically over the `scale` input pixels of an output pixel.
    before = 3 * scale // 2
    indices = np.arange(-before, length + 3 * scale - before) % (2 * length)
    return np.minimum(indices, 2 * length - 1 - indices).reshape(-1, scale).T


def _shrink(phases: Image, weights: NDArray[np.floating[Any]]) -> Image:
    """One pass of `downscale`. With a whole-number scale, every output pixel has the same weights.

    Args:
        phases: (N, scale, size + 3, ...), pixels in the order of `_phases`.
        weights: (taps,); their dtype is the one to calculate in.

    Returns:
        (N, size, ...), dtype of `phases`.
    """
    scale, size = phases.shape[1], phases.shape[2] - 3
    values = phases.astype(weights.dtype)
    total = np.zeros_like(values[:, 0, :size])
    product = np.empty_like(total)
    for tap, weight in enumerate(weights):
        first = tap // scale
        total += np.multiply(values[:, tap % scale, first : first + size], weight, out=product)
    if np.issubdtype(phases.dtype, np.integer):
        total += 0.5
        np.clip(total, 0, np.iinfo(phases.dtype).max, out=total)  # astype then cuts the fraction off
    return total.astype(phases.dtype)


def _kernel(scale: int) -> NDArray[np.float64]:
    """Weights of the input pixels around an output pixel, summing to 1; the kernel is zero two output pixels away."""
    taps = 4 * scale - scale % 2
    x = np.abs(np.arange(taps) - (taps - 1) / 2) / scale  # distance of the centres in output pixels
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x <= 1, near, far)
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised
