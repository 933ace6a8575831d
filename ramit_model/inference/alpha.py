"""Transparency: colors that nothing shows must not bleed into those beside them, and alpha is restored apart."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray
from scipy import ndimage

FLAT_RADIUS = 2
"""Pixels around one in which alpha must be constant for it to stay exactly as it is."""


def fill_hidden(pixels: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Give each fully transparent pixel the color of the nearest one that shows.

    Args:
        pixels: (H, W, 3) or (H, W).
        alpha: (H, W), 0 where transparent.

    Returns:
        A new array; `pixels` itself if there is nothing to fill, or nothing to fill from.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return pixels
    nearest = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
    filled = pixels.copy()
    filled[hidden] = pixels[nearest[0][hidden], nearest[1][hidden]]
    return filled


def enlarge_alpha(
    alpha: NDArray[Any], scale: int, restore_gray: Callable[[NDArray[Any]], NDArray[Any]]
) -> NDArray[Any]:
    """Alpha of a restored image.

    Super-resolution enlarges alpha by the network, as a gray image; where it is constant all around, it stays exactly
    as it is. At scale 1 (denoising, deraining, low light) alpha is not touched, for none of that concerns it.

    Args:
        alpha: (H, W).
        scale: Output size over input size.
        restore_gray: (H, W) -> (H * scale, W * scale).
    """
    if scale == 1:
        return alpha
    size = 2 * FLAT_RADIUS + 1
    flat = ndimage.minimum_filter(alpha, size, mode="nearest") == ndimage.maximum_filter(alpha, size, mode="nearest")
    if flat.all():
        return alpha.repeat(scale, axis=0).repeat(scale, axis=1)
    enlarged = restore_gray(alpha)
    flat, same = (array.repeat(scale, axis=0).repeat(scale, axis=1) for array in (flat, alpha))
    enlarged[flat] = same[flat]
    return enlarged
