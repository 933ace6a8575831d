"""Decodes image files strictly: damaged, transparent, deep or unusual ones are refused or reported, never half-read."""

import warnings
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets_prep.image_formats import (
    DAMAGED,
    ImageError,
    examine,
    imdecode,
)

FAST_LEVEL = 1
# At the fast levels, a search for more than runs costs time in writing and reading, and saves little on photographs.
FAST = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # not yet in OpenCV 4.9
    FAST += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FAST_FILTERS]


@dataclass(frozen=True)
class Treatment:
    """Handling of images that are not as the data set needs them.

    Args:
        color: Kind of images in the data set.
        deep: Refuse images of 16 bits, or round them to 8 bits (x / 257, half up).
    """

    color: Literal["color", "gray"] = "color"
    deep: Literal["refuse", "round"] = "refuse"


class Decoded(NamedTuple):
    """Image, (H, W, 3) BGR or gray (H, W), and short phrases about what was changed."""

    image: NDArray[np.uint8]
    notes: tuple[str, ...]


def decode(content: bytes, treatment: Treatment) -> Decoded:
    """Decode a PNG, JPEG, BMP, TIFF or WebP file, to the pixels of `cv2.imdecode(..., cv2.IMREAD_COLOR)`.

    Args:
        content: The file.
        treatment: How unusual images are handled.

    Raises:
        ImageError: The file is empty, not an image, cut short or damaged, holds several pictures, or its pixels do not
            fit into 8-bit BGR (or gray) without loss.
    """
    if not content:
        raise ImageError("is empty; replace or remove it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow remarks is about metadata
            return _decode(content, treatment)
    except ImageError:
        raise
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise ImageError(DAMAGED) from error


def encode_png(image: NDArray[np.uint8], compress_level: int) -> bytes:
    """Encode a PNG file.

    Args:
        image: (H, W) or (H, W, 3) BGR.
        compress_level: 0 (fast, large) to 9 (slow, small).

    Raises:
        ImageError: It cannot be written; PNG files are at most a million pixels high and wide.
    """
    parameters = [cv2.IMWRITE_PNG_COMPRESSION, compress_level]
    if compress_level <= FAST_LEVEL:
        parameters += FAST
    try:
        written, content = cv2.imencode(".png", image, parameters)
    except cv2.error:
        written = False
    if not written:
        raise ImageError(f"{'x'.join(map(str, image.shape))} pixels cannot be written as PNG; cut the image into parts")
    return bytes(content)


def _decode(content: bytes, treatment: Treatment) -> Decoded:
    kind = examine(content)
    notes = list(kind.notes)
    if kind.deep and treatment.deep == "refuse":
        raise ImageError("has 16 bits per channel; convert it to 8 bits")
    if kind.opaque is False:
        raise ImageError("has transparent pixels; flatten it")
    if kind.opaque:
        notes.append("opaque alpha dropped")
    image = imdecode(content, cv2.IMREAD_COLOR | (cv2.IMREAD_ANYDEPTH if kind.deep else 0))
    wanted = np.uint16 if kind.deep else np.uint8
    if image.dtype != wanted or sorted(image.shape[:2]) != sorted(kind.size):
        raise ImageError(DAMAGED)
    if treatment.color == "gray":
        if not _equal_channels(image):
            raise ImageError("is colored, in a gray set; convert or remove it")
        image = np.ascontiguousarray(image[..., 0])
    if kind.deep:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
        notes.append("16 bits rounded to 8")
    if kind.gray and treatment.color == "color":
        notes.append("gray stored as color")
    if not kind.gray and treatment.color == "gray":
        notes.append("equal channels stored as gray")
    return Decoded(image, tuple(notes))


def _equal_channels(image: NDArray[Any]) -> bool:
    blue, green, red = cv2.split(image)
    return np.array_equal(blue, green) and np.array_equal(green, red)
