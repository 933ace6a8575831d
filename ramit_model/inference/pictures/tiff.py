"""TIFF: 16 bits and floats, which Pillow lacks for color, in; any depth with metadata out."""

import io
import logging
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from ramit_model.inference.pictures.exif import described, descriptive_tags
from ramit_model.inference.pictures.picture import Metadata, Picture, PictureError

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
SEPARATE = 2
PREMULTIPLIED, STRAIGHT = 1, 2
SUBFILE_TYPE, REDUCED = 254, 1
BIG_TIFF = 43
INCH, CENTIMETER = 2, 3
DEFLATE = 8
STRIP_BYTES = 2**20
FLOAT_RANGE = (-0.5, 2.0)
"""Values of float images that are taken as 0..1 with some overshoot."""

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTE_COUNTS = 273, 277, 278, 279
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, PREDICTOR = 282, 283, 296, 317
EXTRA_SAMPLES, SAMPLE_FORMAT, XMP, ICC = 338, 339, 700, 34675

# What is wrong with a file is said in one line of ours; a program's own handlers still get these.
for _name in ("tifffile", "PIL"):
    logging.getLogger(_name).addHandler(logging.NullHandler())

Planes = tuple[NDArray[Any], NDArray[Any] | None]
"""Pixels (H, W, 3) or (H, W), and alpha (H, W) or None."""


def decode_deep(content: bytes) -> Planes | None:
    """Decode a TIFF of 16 bits or floats per channel; not turned as its orientation says.

    Returns:
        None if it has 8 bits or fewer.

    Raises:
        PictureError: It is damaged, holds several pictures, or is of an unusual kind.
    """
    kinds = list(_directories(content))
    if not all(kind & REDUCED for kind in kinds[1:]):
        raise PictureError(f"holds {len(kinds)} pictures; save the one that is wanted by itself")
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        if not isinstance(page, tifffile.TiffPage):
            raise PictureError("is a TIFF of an unusual kind; save it as PNG")
        if any(
            start + count > len(content) for start, count in zip(page.dataoffsets, page.databytecounts, strict=False)
        ):
            raise PictureError("is cut short; replace it")
        bits = np.atleast_1d(page.bitspersample).max()
        if bits <= 8:
            return None
        return _planes(page, _decoded(page, content), int(bits))


def _directories(content: bytes) -> Iterator[int]:
    """Yield the subfile type of each directory of a TIFF; those of a chain in a circle once.

    tifffile follows such a chain for ever.
    """
    order = "<" if content.startswith(b"II") else ">"
    big = struct.unpack_from(f"{order}H", content, 2)[0] == BIG_TIFF
    count_form, offset_form, entry_size = ("Q", "Q", 20) if big else ("H", "I", 12)
    seen: set[int] = set()
    place = struct.unpack_from(order + offset_form, content, 8 if big else 4)[0]
    while place and place not in seen and place + 2 <= len(content):
        seen.add(place)
        count = struct.unpack_from(order + count_form, content, place)[0]
        start = place + struct.calcsize(count_form)
        end = start + count * entry_size
        if end + struct.calcsize(offset_form) > len(content):
            return
        kind = 0
        for entry in range(start, end, entry_size):
            if struct.unpack_from(f"{order}H", content, entry)[0] == SUBFILE_TYPE:
                kind = struct.unpack_from(f"{order}I", content, entry + entry_size - struct.calcsize(offset_form))[0]
        yield kind
        place = struct.unpack_from(order + offset_form, content, end)[0]


def _decoded(page: tifffile.TiffPage, content: bytes) -> NDArray[Any]:
    """Array (H, W) or (H, W, samples) of a page."""
    samples = page.samplesperpixel
    try:
        array = np.asarray(page.asarray())
    except ValueError as error:  # a compression for which tifffile needs more packages
        decoded = None
        if page.planarconfig != SEPARATE or samples == 1:
            with suppress(cv2.error):
                decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if decoded is None or decoded.dtype != page.dtype:
            raise PictureError(f"cannot be decoded ({str(error).splitlines()[0]}); save it uncompressed") from None
        array = np.asarray(decoded)
        if array.ndim == 3:
            array = array[..., [2, 1, 0, *range(3, array.shape[2])]]
    if page.planarconfig == SEPARATE and samples > 1:
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 + (samples > 1):
        raise PictureError("is not a flat picture; save its pictures one by one")
    return array


def _planes(page: tifffile.TiffPage, array: NDArray[Any], bits: int) -> Planes:
    photometric, samples = int(page.photometric), page.samplesperpixel
    if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
        raise PictureError(f"is a {bits}-bit TIFF of photometric interpretation {photometric}; convert it to RGB")
    if not (array.dtype == np.uint16 and bits == 16) and not np.issubdtype(array.dtype, np.floating):
        raise PictureError(f"has {bits}-bit {array.dtype} values; convert it to 16 bits or float")
    colors = 3 if photometric == RGB else 1
    if samples - colors not in (0, 1):
        raise PictureError(f"has {samples} channels; convert it to RGB")
    pixels = array if array.ndim == 2 else array[..., 0] if colors == 1 else array[..., :3]
    alpha = array[..., -1] if samples > colors else None
    if np.issubdtype(array.dtype, np.floating):
        pixels = _checked(pixels)
        alpha = None if alpha is None else _checked(alpha)
    white = 1 if pixels.dtype == np.float32 else 65535
    if photometric == WHITE_IS_ZERO:
        pixels = white - pixels
    if alpha is not None and PREMULTIPLIED in page.extrasamples:
        pixels = _divided(pixels, alpha, white)
    return pixels, alpha


def _checked(values: NDArray[Any]) -> NDArray[np.float32]:
    """Values as float32; refuses those that are not in 0..1, but for some overshoot."""
    values = values.astype(np.float32)
    least, most = float(values.min()), float(values.max())
    if not (np.isfinite(least) and np.isfinite(most)):
        raise PictureError("has values that are not finite (NaN or Inf); replace them")
    if least < FLOAT_RANGE[0] or most > FLOAT_RANGE[1]:
        raise PictureError(f"has float values from {least:g} to {most:g}; scale them to 0..1")
    return values


def _divided(pixels: NDArray[Any], alpha: NDArray[Any], white: int) -> NDArray[Any]:
    """Colors that were multiplied with alpha."""
    share = np.maximum(alpha.astype(np.float32) / white, np.float32(1e-6))
    straight = pixels / (share[..., None] if pixels.ndim == 3 else share)
    if pixels.dtype == np.float32:
        return straight.astype(np.float32)
    return np.rint(np.clip(straight, 0, white)).astype(pixels.dtype)


def read_metadata(content: bytes) -> tuple[Metadata, int]:
    """Metadata of a TIFF, and its orientation (1 to 8)."""
    try:
        exif = _directory(content)
        orientation = int(exif.get(274, 1))
        dpi = _dpi(exif)
        icc, xmp = (exif.get(tag) or None for tag in (ICC, XMP))
    except Exception:  # the directory of a damaged or very large file
        return Metadata(), 1
    described_tags = None
    with suppress(Exception):  # a damaged entry costs the EXIF, not the picture
        described_tags = described(exif)
    return Metadata(described_tags, _as_bytes(xmp), _as_bytes(icc), dpi), orientation


def claimed_size(content: bytes) -> tuple[int, int]:
    """Height and width in the first directory."""
    directory = _directory(content)
    return int(directory[HEIGHT]), int(directory[WIDTH])


def _directory(content: bytes) -> Image.Exif:
    """First directory of a TIFF; that of a BigTIFF only if Pillow can open the picture."""
    if content[2:4] in (b"\x2b\0", b"\0\x2b"):
        return TiffImageFile(io.BytesIO(content)).getexif()
    exif = Image.Exif()
    exif.load(content)
    return exif


def _as_bytes(value: Any) -> bytes | None:
    if isinstance(value, tuple):
        return bytes(value)
    return value if isinstance(value, bytes) else None


def _dpi(exif: Image.Exif) -> tuple[float, float] | None:
    factor = {INCH: 1.0, CENTIMETER: 2.54}.get(int(exif.get(RESOLUTION_UNIT, INCH)))
    if factor is None or X_RESOLUTION not in exif:
        return None
    x = float(exif[X_RESOLUTION])
    return x * factor, float(exif.get(Y_RESOLUTION, x)) * factor


def encode(picture: Picture) -> list[bytes]:
    """Encode a picture as TIFF, compressed by deflate; parts of the file in order.

    Raises:
        PictureError: It is too large for a TIFF (4 GiB).
    """
    pixels, alpha, metadata = picture.pixels, picture.alpha, picture.metadata
    height, width = picture.size
    colors = 1 if pixels.ndim == 2 else 3
    samples = colors + (alpha is not None)
    rows = max(1, STRIP_BYTES // (width * samples * pixels.itemsize))
    strips = [_strip(pixels[top : top + rows], None if alpha is None else alpha[top : top + rows], samples)
              for top in range(0, height, rows)]  # fmt: skip
    is_float = pixels.dtype == np.float32
    directory = ImageFileDirectory_v2()
    if metadata.exif:
        with suppress(Exception):  # what Pillow cannot write costs the EXIF, not the picture
            directory = _with_exif(metadata.exif)
    directory[WIDTH], directory[HEIGHT] = width, height
    directory[BITS] = (pixels.itemsize * 8,) * samples
    directory[COMPRESSION] = DEFLATE
    directory[PHOTOMETRIC] = BLACK_IS_ZERO if colors == 1 else RGB
    directory[SAMPLES], directory[ROWS_PER_STRIP] = samples, rows
    directory[PREDICTOR] = 1 if is_float else 2
    directory[SAMPLE_FORMAT] = (3 if is_float else 1,) * samples
    if alpha is not None:
        directory[EXTRA_SAMPLES] = STRAIGHT
    if metadata.dpi:
        directory[X_RESOLUTION], directory[Y_RESOLUTION] = metadata.dpi
        directory[RESOLUTION_UNIT] = INCH
    for tag, value in ((XMP, metadata.xmp), (ICC, metadata.icc)):
        if value:
            directory.tagtype[tag] = 1 if tag == XMP else 7
            directory[tag] = value
    counts = [len(strip) for strip in strips]
    directory[STRIP_BYTE_COUNTS] = tuple(counts)
    # Pillow adds the size of the directory to them.
    directory[STRIP_OFFSETS] = tuple(sum(counts[:i]) for i in range(len(counts)))
    for tag in (STRIP_OFFSETS, STRIP_BYTE_COUNTS):
        directory.tagtype[tag] = 4
    head = b"II*\0\x08\0\0\0" + directory.tobytes(8)
    if len(head) + sum(counts) >= 2**32:
        raise PictureError("is too large for a TIFF; use --format png")
    return [head, *strips]


def _with_exif(exif: bytes) -> ImageFileDirectory_v2:
    source = Image.Exif()
    source.load(b"Exif\0\0" + exif)
    directory = ImageFileDirectory_v2()
    for tag, value in descriptive_tags(source).items():
        directory[tag] = value
    directory.tobytes(8)  # fails here if ever
    return directory


def _strip(pixels: NDArray[Any], alpha: NDArray[Any] | None, samples: int) -> bytes:
    values = pixels.reshape(*pixels.shape[:2], -1)
    if alpha is not None:
        values = np.concatenate([values, alpha[..., None]], axis=2)
    if values.dtype != np.float32:
        # Differences to the pixel before, modulo 2^bits.
        values = np.diff(values, axis=1, prepend=np.zeros_like(values[:, :1]))
    return zlib.compress(values.astype(values.dtype.newbyteorder("<")).tobytes(), 1)
