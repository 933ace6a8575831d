"""PNG: 16 bits per channel, which Pillow lacks, and the chunks beside the pixels."""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ramit_model.inference.pictures.picture import Metadata, Picture, PictureError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_END = len(SIGNATURE) + 25
XMP_KEY = b"XML:com.adobe.xmp"
KEPT = frozenset((b"cHRM", b"gAMA", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"tEXt", b"zTXt", b"iTXt", b"tIME"))
METER = 39.3701  # inches

# A search for more than runs costs time and saves little on photographs.
_FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # not yet in OpenCV 4.9
    _FAST += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FAST_FILTERS]

CUT = "is cut short or damaged; replace it"


def chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of each chunk.

    Raises:
        PictureError: The file ends before its last chunk, or a chunk that matters is damaged.
    """
    place, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        if place + 12 > len(content):
            raise PictureError(CUT)
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 8 + length
        if end + 4 > len(content):
            raise PictureError(CUT)
        data = content[place + 8 : end]
        intact = zlib.crc32(kind + data) == struct.unpack_from(">I", content, end)[0]
        if intact:
            yield kind, data
        elif kind[:1].isupper():
            raise PictureError(CUT)
        place = end + 4


def is_deep(content: bytes) -> bool:
    """Whether a PNG has 16 bits per channel."""
    return len(content) > HEADER_END and content[24] == 16


def kept_chunks(content: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Chunks for `Metadata.chunks`, without those that other fields of it hold."""
    return tuple(
        (kind, data)
        for kind, data in chunks(content)
        if kind in KEPT and not data.startswith((XMP_KEY, b"Raw profile type exif", b"Raw profile type APP1"))
    )


def decode_deep(content: bytes) -> tuple[NDArray[np.uint16], NDArray[np.uint16] | None]:
    """Decode 16 bits per channel: pixels (H, W, 3) RGB or (H, W), and alpha (H, W) or None.

    Raises:
        PictureError: The file is damaged.
    """
    color = content[25]
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or image.dtype != np.uint16:
        raise PictureError(CUT)
    if image.ndim == 2:
        return image, None
    alpha = np.ascontiguousarray(image[..., 3]) if image.shape[2] == 4 else None
    if color in (0, 4):  # OpenCV repeats gray where there is alpha
        return np.ascontiguousarray(image[..., 0]), alpha
    return np.ascontiguousarray(image[..., 2::-1]), alpha


def encode(picture: Picture) -> bytes:
    """Encode a picture of 8 or 16 bits as PNG, quickly rather than small.

    Raises:
        PictureError: It is too large for a PNG.
    """
    pixels, alpha = picture.pixels, picture.alpha
    image: NDArray[Any] = pixels if pixels.ndim == 2 else pixels[..., ::-1]
    if alpha is not None:
        color = [image] * 3 if image.ndim == 2 else [image[..., i] for i in range(3)]
        image = np.stack([*color, alpha], axis=-1)
    try:
        written, encoded = cv2.imencode(".png", np.ascontiguousarray(image), _FAST)
    except cv2.error:
        written = False
    if not written:
        height, width = picture.size
        raise PictureError(f"{width}x{height} pixels do not fit into a PNG; use --format tiff")
    content = encoded.tobytes()
    return b"".join([content[:HEADER_END], _metadata_chunks(picture.metadata), content[HEADER_END:]])


def _metadata_chunks(metadata: Metadata) -> bytes:
    parts = []
    if metadata.icc:
        parts.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc)))
    # A profile and these contradict each other.
    color = (b"sRGB",) if metadata.icc else ()
    parts += [_chunk(kind, data) for kind, data in metadata.chunks if kind not in color]
    if metadata.dpi:
        parts.append(_chunk(b"pHYs", struct.pack(">IIB", *(round(value * METER) for value in metadata.dpi), 1)))
    if metadata.exif:
        parts.append(_chunk(b"eXIf", metadata.exif))
    if metadata.xmp:
        parts.append(_chunk(b"iTXt", XMP_KEY + bytes(5) + metadata.xmp))
    return b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))
