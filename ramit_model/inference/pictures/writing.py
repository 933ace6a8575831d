"""Writing a picture as PNG, JPEG, WebP or TIFF, with its metadata."""

import io
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ramit_model.inference.pictures import png, tiff
from ramit_model.inference.pictures.exif import HEADER
from ramit_model.inference.pictures.formats import Format
from ramit_model.inference.pictures.picture import Picture, PictureError, to_bytes, to_words

QUALITY = 95
LOSSLESS_QUALITY = 100
"""Quality from which WebP keeps pixels exactly."""

MAX_SEGMENT = 65533
XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"


def encode_picture(picture: Picture, kind: Format, quality: int | None = None) -> tuple[list[bytes], tuple[str, ...]]:
    """Encode a picture.

    PNG keeps 8 and 16 bits (floats become 16 bits), TIFF everything; JPEG and WebP get 8 bits, JPEG no transparency.

    Args:
        picture: Picture to encode.
        kind: Format.
        quality: 1 to 100 for JPEG and WebP, WebP is lossless from 100 on; None: 95, and WebP lossless if the picture
            comes from a lossless file.

    Returns:
        Parts of the file in order, and phrases about what was dropped.

    Raises:
        PictureError: The picture is too large for the format.
    """
    if kind == "tiff":
        return tiff.encode(picture), ()
    if kind == "png":
        if picture.pixels.dtype == np.float32:
            picture = _converted(picture, to_words)
        return [png.encode(picture)], ()
    notes: tuple[str, ...] = ()
    if picture.pixels.dtype != np.uint8:
        notes += (f"{picture.pixels.itemsize * 8} bits per channel rounded to 8",)
        picture = _converted(picture, to_bytes)
    if kind == "jpg" and picture.alpha is not None:
        notes += ("transparency laid on white, for JPEG has none",)
        picture = replace(picture, pixels=_on_white(picture.pixels, picture.alpha), alpha=None)
    metadata = picture.metadata
    exif = HEADER + metadata.exif if metadata.exif else b""
    common: dict[str, Any] = {"icc_profile": metadata.icc}
    if kind == "jpg":
        if len(exif) > MAX_SEGMENT:
            exif = b""
            notes += ("EXIF dropped, for it is too large for a JPEG",)
        extra = metadata.segments
        if metadata.xmp and len(metadata.xmp) + len(XMP_HEADER) <= MAX_SEGMENT:
            extra += (
                b"\xff\xe1" + struct.pack(">H", len(XMP_HEADER) + len(metadata.xmp) + 2) + XMP_HEADER + metadata.xmp
            )
        elif metadata.xmp:
            notes += ("XMP dropped, for it is too large for a JPEG",)
        dpi = tuple(map(round, metadata.dpi)) if metadata.dpi else (0, 0)
        content = _saved(
            picture, "JPEG", quality=quality or QUALITY, subsampling=0, exif=exif, extra=extra, dpi=dpi, **common
        )
    else:
        lossless = picture.lossless if quality is None else quality >= LOSSLESS_QUALITY
        # For lossless files, quality is the effort.
        grade = 50 if lossless else quality or QUALITY
        content = _saved(
            picture, "WEBP", lossless=lossless, quality=grade, exact=True, exif=exif, xmp=metadata.xmp or b"", **common
        )
    return [content], notes


def _converted(picture: Picture, convert: Callable[[NDArray[Any]], NDArray[Any]]) -> Picture:
    alpha = None if picture.alpha is None else convert(picture.alpha)
    return replace(picture, pixels=convert(picture.pixels), alpha=alpha)


def _on_white(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels)
    white = Image.new(image.mode, image.size, "white")
    return np.asarray(Image.composite(image, white, Image.fromarray(alpha)))


def _saved(picture: Picture, kind: str, **options: Any) -> bytes:
    image = Image.fromarray(picture.pixels)
    if picture.alpha is not None:
        if image.mode == "L":
            image = image.convert("RGB")
        image.putalpha(Image.fromarray(picture.alpha))
    file = io.BytesIO()
    try:
        image.save(file, kind, **{name: value for name, value in options.items() if value is not None})
    except (OSError, ValueError) as error:
        height, width = picture.size
        raise PictureError(
            f"{width}x{height} pixels cannot be written as {kind} ({error}); use --format png or tiff"
        ) from error
    return file.getvalue()
