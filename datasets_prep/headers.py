"""Headers of image files: size, claims that cannot be true, files cut short, what 8-bit RGB has no room for."""

import io
import os
import struct
import warnings
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from datasets_prep.image_formats import (
    ALPHA_MODES,
    DAMAGED,
    EXIF_ORIENTATION,
    MAX_PIXELS,
    PNG_COLOR_ALPHA,
    PNG_GRAY_ALPHA,
    PNG_SIGNATURE,
    QUARTER_TURNS,
    TIFF_BITS,
    TIFF_HEIGHT,
    TIFF_SAMPLES,
    TIFF_WIDTH,
    ImageError,
    open_image,
    png_chunks,
    read_start,
    tiff_tag,
)

PIXELS_PER_BYTE = {"PNG": 9000, "JPEG": 2000, "BMP": 300, "TIFF": 9000, "PPM": 8, "WEBP": 10**7}
"""Most pixels that a byte can stand for: 1032 bytes of eight pixels in a PNG, a bit of each 8x8 block of a JPEG, a run
of 255 pixels in two bytes of a BMP, a bit in a PPM; in a WebP, a picture of one color takes a few bytes."""

JPEG_END = b"\xff\xd9"
TAIL = 2**16
"""Bytes at the end of a JPEG in which its end is looked for; some cameras write something behind it."""

ALPHA, DEEP, PROFILE = "transparency", "16 bits", "an ICC profile"


class ClaimError(ImageError):
    """Message about a size that cannot be true."""


class ImageHeader(NamedTuple):
    """Height and width that decoding will give, turned as EXIF says, or None if only decoding tells; extras.

    `extras` are what an 8-bit RGB image has no room for: transparency, 16 bits, an ICC profile.
    """

    size: tuple[int, int] | None
    extras: tuple[str, ...] = ()


def read_header(path: str | os.PathLike[str]) -> ImageHeader:
    """Read the header of an image file, and check what can be checked without decoding.

    Raises:
        ImageError: It is empty, no image, cut short, or claims a size that it cannot have.
        OSError: It cannot be read.
    """
    with Path(path).open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(0)
        return _read_header(file, length, whole=True)


def claimed_size(start: bytes, length: int) -> tuple[int, int] | None:
    """Height and width that decoding will give by what the first bytes of a file say.

    Args:
        start: First bytes of the file.
        length: Bytes of the whole file.

    Returns:
        None if only decoding tells.

    Raises:
        ImageError: It is no image.
        ClaimError: It cannot have the size that it claims.
    """
    try:
        return _read_header(io.BytesIO(start), length, whole=False).size
    except OSError:
        return None


def check_claim(content: bytes) -> None:
    """Check the size that the header of a whole file claims, if it can be read; raises ClaimError if it cannot be true.

    OpenCV makes a picture of any size of the first bytes of a JPEG.
    """
    try:
        claimed_size(content, len(content))
    except ClaimError:
        raise
    except ImageError:
        return


def size_in_header(source: bytes | str | os.PathLike[str]) -> tuple[int, int] | None:
    """Read height and width in pixels that decoding will give, turned as EXIF says, without decoding any pixel.

    Args:
        source: A file's content or path.

    Returns:
        None if only decoding tells.
    """
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
            return _read_header(file, None, whole=False).size
    except (OSError, ImageError):
        return None


def _read_header(file: BinaryIO, length: int | None, *, whole: bool) -> ImageHeader:
    start = read_start(file)
    if not start:
        raise ImageError("is empty; replace or remove it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow remarks is about metadata
            if start.startswith(PNG_SIGNATURE):
                return _png_header(file, length, whole=whole)
            image = open_image(file, start)
            opened_to = file.tell()
            check_size_claimed(*_plain_size(image)[::-1], image.format or "", length)
            if whole and isinstance(image, JpegImageFile):
                _check_jpeg_end(file, scan=opened_to)
            return ImageHeader(_size(image), _extras(image))
    except ImageError:
        raise
    except Exception as error:  # damaged files make decoders raise nearly anything
        if whole:
            raise ImageError(DAMAGED) from error
        raise OSError("the header cannot be read") from error


def check_size_claimed(width: int, height: int, kind: str, length: int | None) -> None:
    """Check a claimed size against the bytes of a file (None: not known); raises ClaimError if it cannot be true."""
    if width >= 2**31:  # a negative number
        width -= 2**32
    claim = f"claims {width}x{height} pixels"
    if width < 1 or height < 1:
        raise ClaimError(f"{claim}, which no image has; replace or remove it")
    if length is not None and width * height > PIXELS_PER_BYTE.get(kind, MAX_PIXELS) * length:
        raise ClaimError(f"{claim}, far more than its {length} bytes can hold; replace or remove it")
    if width * height > MAX_PIXELS:
        raise ClaimError(f"{claim}, more than {MAX_PIXELS}; cut it into parts, or replace it")


def _png_header(file: BinaryIO, length: int | None, *, whole: bool) -> ImageHeader:
    width, height, bits, color = struct.unpack(">IIBB", file.read(26)[16:])
    check_size_claimed(width, height, "PNG", length)
    found, end = set(), 0
    for kind, begin, size in png_chunks(file):
        found.add(kind)
        end = begin + size + 4
    if whole and (b"IEND" not in found or end > (length or 0)):
        raise ImageError(DAMAGED)
    extras: tuple[str, ...] = (ALPHA,) if b"tRNS" in found or color in (PNG_GRAY_ALPHA, PNG_COLOR_ALPHA) else ()
    extras += ((DEEP,) if bits == 16 else ()) + ((PROFILE,) if b"iCCP" in found else ())
    # OpenCV obeys EXIF wherever it is, also behind the pixels; how it reads it is best left to it.
    return ImageHeader(None if b"eXIf" in found else (height, width), extras)


def _check_jpeg_end(file: BinaryIO, scan: int) -> None:
    """Raise ImageError if no end of a JPEG is behind the start of its pixels; previews before them have their own."""
    length = file.seek(0, os.SEEK_END)
    file.seek(max(scan, length - TAIL))
    if JPEG_END not in file.read():
        raise ImageError(DAMAGED)


def _plain_size(image: ImageFile) -> tuple[int, int]:
    """Height and width as they are stored."""
    if isinstance(image, TiffImageFile):
        # Whether `size` is turned depends on Pillow's version.
        return tiff_tag(image, TIFF_HEIGHT), tiff_tag(image, TIFF_WIDTH)
    width, height = image.size
    return height, width


def _size(image: ImageFile) -> tuple[int, int] | None:
    height, width = _plain_size(image)
    if isinstance(image, TiffImageFile):
        return (width, height) if tiff_tag(image, EXIF_ORIENTATION, 1) in QUARTER_TURNS else (height, width)
    if "exif" not in image.info:
        return height, width
    if not isinstance(image, JpegImageFile):
        return None  # OpenCV's versions differ
    try:
        turned = _orientation(image.info["exif"]) in QUARTER_TURNS
    except (struct.error, KeyError):
        return None
    return (width, height) if turned else (height, width)


def _extras(image: ImageFile) -> tuple[str, ...]:
    extras: tuple[str, ...] = ()
    alpha = image.mode in ALPHA_MODES and not isinstance(image, BmpImageFile)
    deep = image.mode.startswith(("I", "F"))
    if isinstance(image, TiffImageFile):
        alpha |= tiff_tag(image, TIFF_SAMPLES, 1) in (2, 4) and image.mode != "CMYK"
        deep |= max(image.tag_v2.get(TIFF_BITS, (1,))) > 8
    extras += ((ALPHA,) if alpha else ()) + ((DEEP,) if deep else ())
    return extras + ((PROFILE,) if image.info.get("icc_profile") else ())


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
