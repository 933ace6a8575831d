"""Decodes image files strictly: damaged, transparent, deep or unusual ones are refused or reported, never half-read."""

import io
import os
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from datasets_prep.image_formats import (
    DAMAGED,
    EXIF_ORIENTATION,
    PNG_SIGNATURE,
    QUARTER_TURNS,
    TIFF_HEIGHT,
    TIFF_WIDTH,
    ImageError,
    examine,
    imdecode,
    open_image,
    png_chunks,
    read_start,
    tiff_tag,
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


def size_in_header(source: bytes | str | os.PathLike[str]) -> tuple[int, int] | None:
    """Read height and width in pixels that decoding will give, turned as EXIF says, without decoding any pixel.

    Args:
        source: A file's content or path.

    Returns:
        None if only decoding tells.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
                return _size_in_header(file)
    except Exception:  # as in `decode`
        return None


def _size_in_header(file: BinaryIO) -> tuple[int, int] | None:
    start = read_start(file)
    if start.startswith(PNG_SIGNATURE):
        width, height = struct.unpack(">II", file.read(24)[16:])
        # OpenCV obeys EXIF wherever it is, also behind the pixels; how it reads it is best left to it.
        return None if any(kind == b"eXIf" for kind, _, _ in png_chunks(file)) else (height, width)
    image = open_image(file, start)
    if isinstance(image, TiffImageFile):
        # Whether `size` is turned depends on Pillow's version.
        height, width = tiff_tag(image, TIFF_HEIGHT), tiff_tag(image, TIFF_WIDTH)
        return (width, height) if tiff_tag(image, EXIF_ORIENTATION, 1) in QUARTER_TURNS else (height, width)
    width, height = image.size
    if "exif" not in image.info:
        return height, width
    if not isinstance(image, JpegImageFile):
        return None  # OpenCV's versions differ
    turned = _orientation(image.info["exif"]) in QUARTER_TURNS
    return (width, height) if turned else (height, width)


def _orientation(exif: bytes) -> int:
    """Find the EXIF orientation as OpenCV does in a JPEG: with any type of entry, and never in XMP, unlike Pillow."""
    directory = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}[directory[:4]]
    start = struct.unpack_from(order + "I", directory, 4)[0]
    count = struct.unpack_from(order + "H", directory, start)[0]
    for i in range(count):
        tag, value = struct.unpack_from(order + "H6xH", directory, start + 2 + 12 * i)
        if tag == EXIF_ORIENTATION:
            return int(value)
    return 1


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
