"""A picture in memory: pixels, transparency, and what its file says beside them."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ramit_model.inference.pictures.exif import upright


class PictureError(ValueError):
    """Message about a picture that cannot be used: what is wrong, what to do; callers prepend the file's name."""


@dataclass(frozen=True)
class Metadata:
    r"""Facts that a file states beside its pixels.

    Attributes:
        exif: EXIF as a TIFF structure, without the header `Exif\0\0`.
        xmp: XMP packet.
        icc: ICC profile that the pixel values refer to.
        dpi: Horizontal and vertical resolution, dots per inch.
        chunks: Kind and content of further PNG chunks: color space, texts, time.
        segments: Further JPEG segments, markers included, such as IPTC.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    segments: bytes = b""

    def resized(self, height: int, width: int) -> "Metadata":
        """Metadata of a picture that now has another size; EXIF that turns out to be damaged is dropped."""
        return replace(self, exif=upright(self.exif, height, width) if self.exif else None)


@dataclass(frozen=True)
class Picture:
    """A picture, the right way up.

    Attributes:
        pixels: (H, W, 3) RGB or (H, W) gray; uint8, uint16, or float32 where 1.0 is white.
        alpha: (H, W) of the same type, 0 where transparent; None where everything is opaque.
        metadata: See `Metadata`; it says nothing of an orientation.
        lossless: Whether its file keeps pixels exactly.
        notes: Short phrases about what was converted or dropped.
    """

    pixels: NDArray[Any]
    alpha: NDArray[Any] | None = None
    metadata: Metadata = field(default_factory=Metadata)
    lossless: bool = True
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.pixels.shape[:2]
        return height, width

    def stripped(self) -> "Picture":
        """The picture with no metadata but its ICC profile, without which its colors would be others."""
        return replace(self, metadata=Metadata(icc=self.metadata.icc))


def to_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Round values of any of the types of `Picture` to 8 bits."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        # x / 257, half up; in bands, for the wider type takes memory.
        return _in_bands(values, np.uint8, lambda band: (band.astype(np.uint32) + 128) // 257)
    return _in_bands(values, np.uint8, lambda band: np.rint(np.clip(band, 0, 1) * 255))


def to_words(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Convert values of any of the types of `Picture` to 16 bits."""
    if values.dtype == np.uint16:
        return values
    if values.dtype == np.uint8:
        return values.astype(np.uint16) * 257
    return _in_bands(values, np.uint16, lambda band: np.rint(np.clip(band, 0, 1) * 65535))


def _in_bands(values: NDArray[Any], kind: Any, convert: Any, rows: int = 256) -> NDArray[Any]:
    result = np.empty(values.shape, kind)
    for top in range(0, len(values), rows):
        result[top : top + rows] = convert(values[top : top + rows])
    return result
