"""Decodes image files strictly: what is cut short, transparent, deep or in another colour space is never half-read."""

import io
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

MAX_PIXELS = 2**29

FAST_LEVEL = 1
# At the fast levels, a search for more than runs costs time in writing and reading, and saves little on photographs.
FAST = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # not yet in OpenCV 4.9
    FAST += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FAST_FILTERS]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_GRAY, PNG_GRAY_ALPHA, PNG_COLOUR_ALPHA = 0, 4, 6

GRAY_MODES = ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I;16N")
ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")

JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
JPEG_SCAN, JPEG_END = 0xDA, 0xD9

EXIF_ORIENTATION, QUARTER_TURNS = 0x0112, (5, 6, 7, 8)
TIFF_WIDTH, TIFF_HEIGHT, TIFF_BITS, TIFF_PHOTOMETRIC = 256, 257, 258, 262
TIFF_SAMPLES, TIFF_PLANES, TIFF_SAMPLE_FORMAT = 277, 284, 339
TIFF_BLACK_IS_ZERO, TIFF_RGB, TIFF_YCBCR, TIFF_LAB = 1, 2, 6, (8, 9, 10)
TIFF_UNSIGNED = 1

UNKNOWN = "cannot be decoded as an image (PNG, JPEG, BMP, TIFF or WebP); replace or remove it"
DAMAGED = "is cut short or damaged, or of an unusual kind; replace it, or save it as PNG"


class ImageError(ValueError):
    """An image that cannot be used: what is wrong and what to do, without the file's name, which callers prepend."""


@dataclass(frozen=True)
class Treatment:
    """How images are handled that are not as the data set needs them.

    Args:
        color: What the data set holds.
        deep: Images of 16 bits are refused, or rounded to 8 bits (x / 257, half up).
    """

    color: Literal["color", "gray"] = "color"
    deep: Literal["refuse", "round"] = "refuse"


class Decoded(NamedTuple):
    """An image, (H, W, 3) BGR or gray (H, W), and short phrases about what was changed."""

    image: NDArray[np.uint8]
    notes: tuple[str, ...]


class _Kind(NamedTuple):
    """What is known of an image before its colours are decoded.

    `size` is height and width, turned or not; `opaque` is None where there is no alpha channel.
    """

    size: tuple[int, int]
    gray: bool
    deep: bool
    opaque: bool | None
    notes: tuple[str, ...] = ()


def decode(content: bytes, treatment: Treatment) -> Decoded:
    """The pixels of a PNG, JPEG, BMP, TIFF or WebP file, those of `cv2.imdecode(..., cv2.IMREAD_COLOR)`.

    Args:
        content: The file.
        treatment: How unusual images are handled.

    Raises:
        ImageError: The file is empty, no image, cut short or damaged, holds several pictures, or its pixels do not fit
            into 8-bit BGR (or gray) without loss.
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
    """A PNG file.

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
    """Height and width in pixels that decoding will give, turned as the camera says, without decoding any pixel.

    Args:
        source: A file's content or path.

    Returns:
        None where only decoding tells.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
                return _size_in_header(file)
    except Exception:  # as in `decode`
        return None


def _size_in_header(file: BinaryIO) -> tuple[int, int] | None:
    start = _start(file)
    if start.startswith(PNG_SIGNATURE):
        width, height = struct.unpack(">II", file.read(24)[16:])
        # OpenCV obeys EXIF wherever it is, also behind the pixels; how it reads it is best left to it.
        return None if any(kind == b"eXIf" for kind, _, _ in _chunks(file)) else (height, width)
    image = _open(file, start)
    if isinstance(image, TiffImageFile):
        # Whether `size` is turned depends on Pillow's version.
        height, width = _tag(image, TIFF_HEIGHT), _tag(image, TIFF_WIDTH)
        return (width, height) if _tag(image, EXIF_ORIENTATION, 1) in QUARTER_TURNS else (height, width)
    width, height = image.size
    if "exif" not in image.info:
        return height, width
    if not isinstance(image, JpegImageFile):
        return None  # OpenCV's versions differ
    turned = _orientation(image.info["exif"]) in QUARTER_TURNS
    return (width, height) if turned else (height, width)


def _orientation(exif: bytes) -> int:
    """As OpenCV finds it in a JPEG: whatever the type of the entry, and never in XMP, as Pillow does."""
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
    kind = _examine(content)
    notes = list(kind.notes)
    if kind.deep and treatment.deep == "refuse":
        raise ImageError("has 16 bits per channel; convert it to 8 bits")
    if kind.opaque is False:
        raise ImageError("has transparent pixels; flatten it")
    if kind.opaque:
        notes.append("opaque alpha dropped")
    image = _imdecode(content, cv2.IMREAD_COLOR | (cv2.IMREAD_ANYDEPTH if kind.deep else 0))
    wanted = np.uint16 if kind.deep else np.uint8
    if image.dtype != wanted or sorted(image.shape[:2]) != sorted(kind.size):
        raise ImageError(DAMAGED)
    if treatment.color == "gray":
        if not _equal_channels(image):
            raise ImageError("is coloured, in a gray set; convert or remove it")
        image = np.ascontiguousarray(image[..., 0])
    if kind.deep:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
        notes.append("16 bits rounded to 8")
    if kind.gray and treatment.color == "color":
        notes.append("gray stored as colour")
    if not kind.gray and treatment.color == "gray":
        notes.append("equal channels stored as gray")
    return Decoded(image, tuple(notes))


def _equal_channels(image: NDArray[Any]) -> bool:
    blue, green, red = cv2.split(image)
    return np.array_equal(blue, green) and np.array_equal(green, red)


def _imdecode(content: bytes, flags: int) -> NDArray[Any]:
    image: NDArray[Any] | None = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if image is None:
        raise ImageError(DAMAGED)
    return image


def _examine(content: bytes) -> _Kind:
    """What there is to know before decoding; raises ImageError if the file is incomplete or cannot be used."""
    file = io.BytesIO(content)
    start = _start(file)
    if start.startswith(PNG_SIGNATURE):
        return _examine_png(content)
    image = _open(file, start)
    _check_size(image.size[1], image.size[0])
    _check_pictures(getattr(image, "n_frames", 1))
    if image.mode == "CMYK":
        raise ImageError("is CMYK; convert it to RGB")
    deep, extra = _examine_tiff(image) if isinstance(image, TiffImageFile) else (False, False)
    # OpenCV's versions return cut images half gray, or None, or as they please: Pillow refuses them.
    if isinstance(image, JpegImageFile):
        JpegImageFile(io.BytesIO(_open_ended(content))).load()
    else:
        image.load()
    opaque = _is_opaque(content, image) if extra or image.mode in ALPHA_MODES else None
    notes = ("further pictures beside the first dropped",) if "mp" in image.info else ()
    return _Kind(image.size, image.mode in GRAY_MODES, deep, opaque, notes)


def _start(file: BinaryIO) -> bytes:
    start = file.read(12)
    file.seek(0)
    return start


def _open(file: BinaryIO, start: bytes) -> ImageFile:
    # Not PIL.Image.open, which takes images of more than 179 million pixels for an attack.
    if start.startswith(b"\xff\xd8\xff"):
        return JpegImageFile(file)
    if start.startswith(b"BM"):
        return BmpImageFile(file)
    if start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return TiffImageFile(file)
    if start.startswith(b"RIFF") and start.endswith(b"WEBP"):
        return WebPImageFile(file)
    raise ImageError(UNKNOWN)


def _check_size(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise ImageError(f"claims {height}x{width} pixels, more than {MAX_PIXELS}; cut it into parts, or replace it")


def _check_pictures(count: int) -> None:
    if count > 1:
        raise ImageError(f"holds {count} pictures; save the one that is wanted by itself")


def _is_opaque(content: bytes, image: ImageFile) -> bool:
    """Whether the loaded image has no transparent pixel: by OpenCV at full depth, where it keeps alpha."""
    whole = _imdecode(content, cv2.IMREAD_UNCHANGED)
    if whole.ndim == 3 and whole.shape[2] == 4:
        return bool((whole[..., 3] == np.iinfo(whole.dtype).max).all())
    return image.mode in ALPHA_MODES and image.getchannel("A").getextrema() == (255, 255)


# JPEG -----------------------------------------------------------------------------------------------------------------


def _open_ended(content: bytes) -> bytes:
    """A JPEG of one scan without its end marker; another as it is.

    Where the pixels end too early, decoders make the rest gray at the marker. Without one they wait for more.
    """
    end, scans, kind = 2, 0, 0
    while kind != JPEG_END:
        marker = JPEG_MARKER.search(content, end)
        if not marker:
            raise ImageError(DAMAGED)
        end, kind = marker.start(), content[marker.start() + 1]
        if kind != JPEG_END:
            end += 2 + int.from_bytes(content[end + 2 : end + 4], "big")
        scans += kind == JPEG_SCAN
    # Decoders look up to eight bytes ahead.
    return content[:end] + bytes(8) if scans == 1 else content


# TIFF -----------------------------------------------------------------------------------------------------------------


def _examine_tiff(image: TiffImageFile) -> tuple[bool, bool]:
    """Whether it has 16 bits, and a channel beside its colours."""
    photometric, samples = _tag(image, TIFF_PHOTOMETRIC), _tag(image, TIFF_SAMPLES, 1)
    bits = set(image.tag_v2.get(TIFF_BITS, (1,)))
    if photometric in TIFF_LAB:
        raise ImageError("is LAB; convert it to RGB")
    if set(image.tag_v2.get(TIFF_SAMPLE_FORMAT, (TIFF_UNSIGNED,))) != {TIFF_UNSIGNED}:
        raise ImageError("has floating-point or signed values; convert it to 8 bits")
    if len(bits) > 1 or max(bits) > 16:
        raise ImageError(f"has {max(bits)} bits per channel; convert it to 8 bits")
    deep = max(bits) == 16
    # OpenCV takes them for RGB of interleaved channels, and for gray that grows with brightness.
    scattered = samples > 1 and _tag(image, TIFF_PLANES, 1) != 1
    if deep and (scattered or photometric not in (TIFF_BLACK_IS_ZERO, TIFF_RGB)):
        raise ImageError("is a 16-bit TIFF of an unusual kind; save it as PNG")
    extra = samples - (3 if photometric in (TIFF_RGB, TIFF_YCBCR) else 1)
    if extra > 1:
        raise ImageError(f"has {samples} channels; convert it to RGB")
    return deep, extra == 1


def _tag(image: TiffImageFile, tag: int, default: int | None = None) -> int:
    return int(image.tag_v2.get(tag, default))


# PNG ------------------------------------------------------------------------------------------------------------------


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and length in bytes of the content of each chunk of a PNG, up to IEND or where the file is cut."""
    start = len(PNG_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        file.seek(start)
        header = file.read(8)
        if len(header) < 8:
            return
        length, kind = struct.unpack(">I4s", header)
        yield kind, start + 8, length
        start += length + 12


def _examine_png(content: bytes) -> _Kind:
    found = _checked_chunks(content)
    width, height, bits, colour = struct.unpack(">IIBB", found[b"IHDR"][:10])
    _check_size(height, width)
    if b"acTL" in found:
        frames = struct.unpack(">I", found[b"acTL"][:4])[0]
        _check_pictures(max(frames, 1 + (b"fdAT" in found)))
    opaque = None
    if b"tRNS" in found or colour in (PNG_GRAY_ALPHA, PNG_COLOUR_ALPHA):
        opaque = _is_opaque_png(content, bits, colour, bytes(found.get(b"tRNS", b"")))
    return _Kind((height, width), colour in (PNG_GRAY, PNG_GRAY_ALPHA), bits == 16, opaque)


def _checked_chunks(content: bytes) -> dict[bytes, memoryview]:
    """The first chunk of each kind; raises ImageError unless all are whole, up to IEND."""
    view = memoryview(content)
    found: dict[bytes, memoryview] = {}
    kind = b""
    for kind, start, length in _chunks(io.BytesIO(content)):
        end = start + length
        # The last chunk of a file that was cut has fewer than the four bytes of its checksum.
        if view[end : end + 4] != zlib.crc32(view[start - 4 : end]).to_bytes(4, "big"):
            raise ImageError(DAMAGED)
        found.setdefault(kind, view[start:end])
    if kind != b"IEND":
        raise ImageError(DAMAGED)
    return found


def _is_opaque_png(content: bytes, bits: int, colour: int, transparency: bytes) -> bool:
    whole = _imdecode(content, cv2.IMREAD_UNCHANGED)
    if colour == PNG_GRAY:  # OpenCV forgets which gray is transparent
        clear = struct.unpack(">H", transparency)[0]
        return bool((whole != (clear if bits == 16 else clear * 255 // (2**bits - 1))).all())
    return whole.shape[2] == 4 and bool((whole[..., 3] == np.iinfo(whole.dtype).max).all())
