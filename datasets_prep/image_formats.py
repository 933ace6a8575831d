"""Checks image files before their colors are decoded: complete, one picture, nothing transparent, a usable kind."""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

MAX_PIXELS = 2**29
"""Largest number of pixels of an image."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_GRAY, PNG_GRAY_ALPHA, PNG_COLOR_ALPHA = 0, 4, 6

GRAY_MODES = ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I;16N")
ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")

PPM_START = re.compile(rb"P[1-6]\s")
PPM_BITMAPS = (b"P1", b"P4")

JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
JPEG_SCAN, JPEG_END = 0xDA, 0xD9

EXIF_ORIENTATION, QUARTER_TURNS = 0x0112, (5, 6, 7, 8)
TIFF_WIDTH, TIFF_HEIGHT, TIFF_BITS, TIFF_PHOTOMETRIC = 256, 257, 258, 262
TIFF_SAMPLES, TIFF_PLANES, TIFF_SAMPLE_FORMAT = 277, 284, 339
TIFF_BLACK_IS_ZERO, TIFF_RGB, TIFF_YCBCR, TIFF_LAB = 1, 2, 6, (8, 9, 10)
TIFF_UNSIGNED = 1

UNKNOWN = "cannot be decoded as an image (PNG, JPEG, BMP, TIFF, WebP or PPM); replace or remove it"
DAMAGED = "is cut short or damaged, or of an unusual kind; replace it, or save it as PNG"


class ImageError(ValueError):
    """Message about an image that cannot be used: what is wrong, what to do; callers prepend the file's name."""


class Kind(NamedTuple):
    """Properties of an image that are known before its colors are decoded.

    `size` is height and width, turned or not; `opaque` is None where there is no alpha channel.
    """

    size: tuple[int, int]
    gray: bool
    deep: bool
    opaque: bool | None
    notes: tuple[str, ...] = ()


def examine(content: bytes) -> Kind:
    """Check a whole file before it is decoded; raises ImageError if it is incomplete or cannot be used."""
    file = io.BytesIO(content)
    start = read_start(file)
    if start.startswith(PNG_SIGNATURE):
        return _examine_png(content)
    image = open_image(file, start)
    _check_size(image.size[1], image.size[0])
    _check_pictures(getattr(image, "n_frames", 1))
    if image.mode == "CMYK":
        raise ImageError("is CMYK; convert it to RGB")
    deep, extra = _examine_tiff(image) if isinstance(image, TiffImageFile) else (False, False)
    if isinstance(image, PpmImageFile):
        deep = _is_deep_ppm(content)
    # OpenCV's versions return cut images half gray, or None, or as they please: Pillow refuses them.
    if isinstance(image, JpegImageFile):
        JpegImageFile(io.BytesIO(_open_ended(content))).load()
    else:
        image.load()
    opaque = _is_opaque(content, image) if extra or image.mode in ALPHA_MODES else None
    notes = ("further pictures beside the first dropped",) if "mp" in image.info else ()
    return Kind(image.size, image.mode in GRAY_MODES, deep, opaque, notes)


def read_start(file: BinaryIO) -> bytes:
    """Read the bytes that tell the format, and go back to the start."""
    start = file.read(12)
    file.seek(0)
    return start


def open_image(file: BinaryIO, start: bytes) -> ImageFile:
    """Open an image other than a PNG by Pillow, without decoding it; raises ImageError if the format is unknown."""
    # Not PIL.Image.open, which takes images of more than 179 million pixels for an attack.
    if start.startswith(b"\xff\xd8\xff"):
        return JpegImageFile(file)
    if start.startswith(b"BM"):
        return BmpImageFile(file)
    if start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return TiffImageFile(file)
    if start.startswith(b"RIFF") and start.endswith(b"WEBP"):
        return WebPImageFile(file)
    if PPM_START.match(start):
        return PpmImageFile(file)
    raise ImageError(UNKNOWN)


def _check_size(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise ImageError(f"claims {height}x{width} pixels, more than {MAX_PIXELS}; cut it into parts, or replace it")


def _check_pictures(count: int) -> None:
    if count > 1:
        raise ImageError(f"holds {count} pictures; save the one that is wanted by itself")


def _is_opaque(content: bytes, image: ImageFile) -> bool:
    """Whether the loaded image has no transparent pixel: by OpenCV at full depth, where it keeps alpha."""
    whole = imdecode(content, cv2.IMREAD_UNCHANGED)
    if whole.ndim == 3 and whole.shape[2] == 4:
        return bool((whole[..., 3] == np.iinfo(whole.dtype).max).all())
    return image.mode in ALPHA_MODES and image.getchannel("A").getextrema() == (255, 255)


def imdecode(content: bytes, flags: int) -> NDArray[Any]:
    """Decode by OpenCV; raises ImageError if it cannot."""
    image: NDArray[Any] | None = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if image is None:
        raise ImageError(DAMAGED)
    return image


# JPEG -----------------------------------------------------------------------------------------------------------------


def _open_ended(content: bytes) -> bytes:
    """Cut the end marker off a JPEG of one scan; return any other unchanged.

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


# PPM ------------------------------------------------------------------------------------------------------------------


def _is_deep_ppm(content: bytes) -> bool:
    """Whether it has 16 bits; raises ImageError where white is neither 255 nor 65535."""
    words = re.sub(rb"#[^\n]*", b"", content[:1024]).split(maxsplit=4)
    white = 255 if words[0] in PPM_BITMAPS else int(words[3])
    if white not in (255, 65535):
        raise ImageError(f"has values up to {white}; save it as PNG")
    return white == 65535


# TIFF -----------------------------------------------------------------------------------------------------------------


def _examine_tiff(image: TiffImageFile) -> tuple[bool, bool]:
    """Return whether it has 16 bits, and whether it has a channel beside its colors."""
    photometric, samples = tiff_tag(image, TIFF_PHOTOMETRIC), tiff_tag(image, TIFF_SAMPLES, 1)
    bits = set(image.tag_v2.get(TIFF_BITS, (1,)))
    if photometric in TIFF_LAB:
        raise ImageError("is LAB; convert it to RGB")
    if set(image.tag_v2.get(TIFF_SAMPLE_FORMAT, (TIFF_UNSIGNED,))) != {TIFF_UNSIGNED}:
        raise ImageError("has floating-point or signed values; convert it to 8 bits")
    if len(bits) > 1 or max(bits) > 16:
        raise ImageError(f"has {max(bits)} bits per channel; convert it to 8 bits")
    deep = max(bits) == 16
    # OpenCV takes them for RGB of interleaved channels, and for gray that grows with brightness.
    scattered = samples > 1 and tiff_tag(image, TIFF_PLANES, 1) != 1
    if deep and (scattered or photometric not in (TIFF_BLACK_IS_ZERO, TIFF_RGB)):
        raise ImageError("is a 16-bit TIFF of an unusual kind; save it as PNG")
    extra = samples - (3 if photometric in (TIFF_RGB, TIFF_YCBCR) else 1)
    if extra > 1:
        raise ImageError(f"has {samples} channels; convert it to RGB")
    return deep, extra == 1


def tiff_tag(image: TiffImageFile, tag: int, default: int | None = None) -> int:
    """Read a tag that holds a whole number."""
    return int(image.tag_v2.get(tag, default))


# PNG ------------------------------------------------------------------------------------------------------------------


def png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and length in bytes of each chunk's content in a PNG, up to IEND or where the file is cut."""
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


def _examine_png(content: bytes) -> Kind:
    found = _checked_chunks(content)
    width, height, bits, color = struct.unpack(">IIBB", found[b"IHDR"][:10])
    _check_size(height, width)
    if b"acTL" in found:
        frames = struct.unpack(">I", found[b"acTL"][:4])[0]
        _check_pictures(max(frames, 1 + (b"fdAT" in found)))
    opaque = None
    if b"tRNS" in found or color in (PNG_GRAY_ALPHA, PNG_COLOR_ALPHA):
        opaque = _is_opaque_png(content, bits, color, bytes(found.get(b"tRNS", b"")))
    return Kind((height, width), color in (PNG_GRAY, PNG_GRAY_ALPHA), bits == 16, opaque)


def _checked_chunks(content: bytes) -> dict[bytes, memoryview]:
    """Find the first chunk of each kind; raises ImageError unless all are whole, up to IEND."""
    view = memoryview(content)
    found: dict[bytes, memoryview] = {}
    kind = b""
    for kind, start, length in png_chunks(io.BytesIO(content)):
        end = start + length
        # The last chunk of a file that was cut has fewer than the four bytes of its checksum.
        if view[end : end + 4] != zlib.crc32(view[start - 4 : end]).to_bytes(4, "big"):
            raise ImageError(DAMAGED)
        found.setdefault(kind, view[start:end])
    if kind != b"IEND":
        raise ImageError(DAMAGED)
    return found


def _is_opaque_png(content: bytes, bits: int, color: int, transparency: bytes) -> bool:
    whole = imdecode(content, cv2.IMREAD_UNCHANGED)
    if color == PNG_GRAY:  # OpenCV forgets which gray is transparent
        clear = struct.unpack(">H", transparency)[0]
        return bool((whole != (clear if bits == 16 else clear * 255 // (2**bits - 1))).all())
    return whole.shape[2] == 4 and bool((whole[..., 3] == np.iinfo(whole.dtype).max).all())
