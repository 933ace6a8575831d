"""Positions of sub-images in an image: the grid of BasicSR's `extract_subimages`, aligned between GT and LQ."""

from dataclasses import dataclass

Box = tuple[int, int, int, int]
"""Top, left, height, width in pixels."""


@dataclass(frozen=True)
class Grid:
    """Overlapping squares, the last of each row and column flush with the border.

    With the sizes as multiples of a scale, all boxes are: dividing them by the scale gives the boxes of the LQ image.

    Args:
        crop_size: Side of a square in GT pixels.
        step: Distance of neighbours in GT pixels; more than `crop_size` leaves gaps.
        thresh_size: Most GT pixels that may be left over behind the last full step; more get a flush square.

    Raises:
        ValueError: `crop_size` or `step` is less than 1, or `thresh_size` less than 0.
    """

    crop_size: int
    step: int
    thresh_size: int = 0

    def __post_init__(self) -> None:
        if self.crop_size < 1 or self.step < 1 or self.thresh_size < 0:
            raise ValueError(f"{self}: crop_size and step must be at least 1, thresh_size at least 0")

    def check_multiple(self, multiple: int) -> None:
        """Check that GT boxes can be divided by every scale.

        Args:
            multiple: Least common multiple of the scales.

        Raises:
            ValueError: `crop_size` or `step` is not a multiple of it.
        """
        sizes = {"crop_size": self.crop_size, "step": self.step}
        wrong = [f"{name} {size}" for name, size in sizes.items() if size % multiple]
        if wrong:
            raise ValueError(f"not a multiple of {multiple}, as the scales require: {', '.join(wrong)}")

    def boxes(self, height: int, width: int, multiple: int = 1) -> list[Box]:
        """List the sub-images of one image, row by row.

        Args:
            height: Height of the GT image in pixels, a multiple of `multiple`.
            width: Width, likewise.
            multiple: Least common multiple of the scales.

        Returns:
            Boxes in GT pixels, all numbers multiples of `multiple`. An image shorter than `crop_size` along an axis
            keeps that axis whole.

        Raises:
            ValueError: A size is 0 or not a multiple of `multiple`, or `check_multiple` fails.
        """
        self.check_multiple(multiple)
        if height < 1 or width < 1 or height % multiple or width % multiple:
            raise ValueError(f"size {height}x{width} is not a positive multiple of {multiple}; crop the image first")
        size = min(self.crop_size, height), min(self.crop_size, width)
        return [(top, left, *size) for top in self._starts(height) for left in self._starts(width)]

    def _starts(self, length: int) -> list[int]:
        last = max(length - self.crop_size, 0)
        starts = list(range(0, last + 1, self.step))
        return [*starts, last] if last - starts[-1] > self.thresh_size else starts


def sub_image_key(key: str, index: int) -> str:
    """Name of a sub-image as BasicSR numbers them.

    Args:
        key: Name of the image.
        index: Index of the box in `Grid.boxes`, from 0.

    Returns:
        `key`_s001 for the first, with more digits from the thousandth on.
    """
    return f"{key}_s{index + 1:03d}"
