"""Reading a picture file: PNG, JPEG, WebP, TIFF, BMP, still GIF, PPM, and AVIF where Pillow has it."""

import io
import struct
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from datasets_prep.headers import PIXELS_PER_BYTE
from ramit_model.inference.pictures import png, tiff
from ramit_model.inference.pictures.color import to_rgb_or_gray
from ramit_model.inference.pictures.exif import HEADER, ORIENTATION, upright, upright_xmp
from ramit_model.inference.pictures.formats import Format
from ramit_model.inference.pictures.picture import Metadata, Picture, PictureError
from ramit_model.system.memory_at_hand import memory_at_hand

try:
    from PIL.AvifImagePlugin import AvifImageFile
except ImportError:  # Pillow before 11.3
    AvifImageFile = None  # type: ignore[assignment,misc]

DAMAGED = "is cut short or damaged, or of an unusual kind; replace it, or save it as PNG"
READ = "PNG, JPEG, WebP, TIFF, BMP, GIF or PPM"
UNKNOWN = f"is no picture of a known kind; replace it, or save it as {READ}"

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG_IPTC = "APP13"

_KINDS = {b"\xff\xd8\xff": "JPEG", png.SIGNATURE: "PNG", b"BM": "BMP", b"P": "PPM"}
"""Kinds whose decoders take the memory for all that a file claims, by the start of the file."""

GIGA = 1e9


def read_picture(content: bytes) -> Picture:
    """Decode a picture and turn it the right way up.

    Args:
        content: The file.

    Raises:
        PictureError: It is empty, no picture, damaged, animated, or of a kind that cannot be restored.
    """
    if not content:
        raise PictureError("is empty; replace or remove it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow remarks is about metadata
            check_size(content)
            return _read(content)
    except (PictureError, MemoryError):
        raise
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise PictureError(DAMAGED) from error


def check_size(content: bytes, scale: int = 0) -> int:
    """Make sure that the size that a file claims can be true, and fits the memory at hand.

    Args:
        content: The file.
        scale: Size of the result over the picture's; 0: there is none.

    Returns:
        Bytes that the picture and its result will take.

    Raises:
        PictureError: It cannot be true, or does not fit.
    """
    height, width = picture_size(content)
    if width >= 2**31:  # a negative number
        raise PictureError(f"claims {width - 2**32}x{height} pixels, which no picture has; replace it")
    claim = f"claims {width}x{height} pixels"
    kind = next((kind for start, kind in _KINDS.items() if content.startswith(start)), None)
    if kind and height * width > PIXELS_PER_BYTE[kind] * len(content):
        raise PictureError(f"{claim}, far more than its {len(content)} bytes can hold; replace it")
    # Three channels of 8 bits, twice: they are copied when they are turned, decoded or encoded.
    needed = 6 * height * width * (1 + scale**2)
    free = memory_at_hand()
    if needed > free:
        memory = f"{needed / GIGA:.1f} GB of memory are needed, and {free / GIGA:.1f} free"
        raise PictureError(f"{claim}, for which {memory}; cut it into parts, or replace it")
    return needed


def picture_size(content: bytes) -> tuple[int, int]:
    """Height and width that a file claims to have, not turned, without decoding it; (0, 0) if it does not tell."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if content.startswith(TIFF_STARTS):
                return tiff.claimed_size(content)
            width, height = open_image(content).size
            return height, width
    except Exception:  # reading the picture says what is wrong
        return 0, 0


def format_of_content(content: bytes) -> Format:
    """Format of a file; PNG where its own is not one that is written."""
    if content.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if content.startswith(TIFF_STARTS):
        return "tiff"
    return "webp" if content[:4] == b"RIFF" else "png"


def open_image(content: bytes) -> ImageFile:
    """Open an image by Pillow without decoding it.

    Not by `PIL.Image.open`, which takes large photos for an attack and guesses formats that are not wanted here.

    Raises:
        PictureError: The format is unknown.
    """
    file, start = io.BytesIO(content), content[:16]
    if start.startswith(png.SIGNATURE):
        return PngImageFile(file)
    if start.startswith(b"\xff\xd8\xff"):
        return JpegImageFile(file)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return WebPImageFile(file)
    if start.startswith(TIFF_STARTS):
        return TiffImageFile(file)
    if start.startswith(b"BM"):
        return BmpImageFile(file)
    if start.startswith((b"GIF87a", b"GIF89a")):
        return GifImageFile(file)
    if start[:2] in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"):
        return PpmImageFile(file)
    if start[4:8] == b"ftyp":
        kind = start[8:12]
        if kind in (b"avif", b"avis") and AvifImageFile is not None:
            return AvifImageFile(file)
        name = "AVIF" if kind in (b"avif", b"avis") else "HEIC or a video"
        raise PictureError(f"is {name}, which is not read; save it as {READ}")
    if start.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        raise PictureError(f"is JPEG XL, which is not read; save it as {READ}")
    if start.startswith((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")):
        raise PictureError(f"is JPEG 2000, which is not read; save it as {READ}")
    raise PictureError(UNKNOWN)


def _read(content: bytes) -> Picture:
    if content.startswith(TIFF_STARTS):
        return _read_tiff(content)
    if content.startswith(png.SIGNATURE):
        chunks = png.kept_chunks(content)
        image = open_image(content)
        _refuse_animated(image)
        metadata = replace(_metadata(image), chunks=chunks)
        if png.is_deep(content):
            pixels, alpha = png.decode_deep(content)
            return _turned(pixels, alpha, metadata, image.getexif().get(ORIENTATION, 1))
        return _decoded(image, metadata)
    image = open_image(content)
    _refuse_animated(image)
    picture = _decoded(image, _metadata(image))
    if isinstance(image, JpegImageFile):
        notes = ("further pictures beside the first dropped",) if "mp" in image.info else ()
        return replace(picture, lossless=False, notes=picture.notes + notes)
    return replace(picture, lossless=_is_lossless(content))


def _read_tiff(content: bytes) -> Picture:
    metadata, orientation = tiff.read_metadata(content)
    planes = tiff.decode_deep(content)
    if planes is None:
        return _decoded(open_image(content), metadata)
    return _turned(*planes, metadata, orientation)


def _refuse_animated(image: ImageFile) -> None:
    count = getattr(image, "n_frames", 1)
    if count > 1:
        raise PictureError(f"is animated ({count} pictures); save the one that is wanted by itself")


def _is_lossless(content: bytes) -> bool:
    return content[:4] != b"RIFF" or b"VP8L" in content[12:64]


def _decoded(image: ImageFile, metadata: Metadata) -> Picture:
    """Picture of at most 8 bits per channel, decoded by Pillow."""
    if image.mode.startswith(("I", "F")):
        raise PictureError("has more than 8 bits per channel in a format that is not read so; save it as PNG or TIFF")
    image.load()
    # Pillow turns a TIFF when it is loaded; the others are turned here.
    turned = ImageOps.exif_transpose(image)
    converted, icc, notes = to_rgb_or_gray(turned, metadata.icc)
    array: NDArray[Any] = np.array(converted)
    colors = {"L": 0, "LA": 1, "RGB": 3, "RGBA": 3}[converted.mode]
    alpha = np.ascontiguousarray(array[..., -1]) if converted.mode.endswith("A") else None
    pixels = array if alpha is None else array[..., 0] if colors == 1 else array[..., :3]
    return _finished(np.ascontiguousarray(pixels), alpha, replace(metadata, icc=icc), notes)


def _turned(pixels: NDArray[Any], alpha: NDArray[Any] | None, metadata: Metadata, orientation: int) -> Picture:
    """Picture of arrays that are not turned yet."""

    def turn(array: NDArray[Any]) -> NDArray[Any]:
        if orientation in (5, 6, 7, 8):
            array = array.swapaxes(0, 1)
        rows = -1 if orientation in (3, 4, 7, 8) else 1
        columns = -1 if orientation in (2, 3, 6, 7) else 1
        return np.ascontiguousarray(array[::rows, ::columns])

    return _finished(turn(pixels), None if alpha is None else turn(alpha), metadata, ())


def _finished(pixels: NDArray[Any], alpha: NDArray[Any] | None, metadata: Metadata, notes: tuple[str, ...]) -> Picture:
    """Picture with metadata that fit an upright one; alpha that is opaque everywhere is dropped."""
    exif = metadata.exif
    if exif:
        exif = upright(exif, *pixels.shape[:2])
        if exif is None:
            notes += ("damaged EXIF dropped",)
    xmp = upright_xmp(metadata.xmp) if metadata.xmp else None
    if alpha is not None and alpha.min() == (1 if alpha.dtype == np.float32 else np.iinfo(alpha.dtype).max):
        alpha = None
    return Picture(pixels, alpha, replace(metadata, exif=exif, xmp=xmp), notes=notes)


def _metadata(image: ImageFile) -> Metadata:
    """Metadata as Pillow found them when it opened the file."""
    info = image.info
    exif = info.get("exif")
    if exif is None and "Raw profile type exif" in info:
        exif = bytes.fromhex("".join(info["Raw profile type exif"].split("\n")[3:]))
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
    segments = b""
    if isinstance(image, JpegImageFile):
        for name, data in image.applist:
            if name == _JPEG_IPTC:
                segments += b"\xff\xed" + struct.pack(">H", len(data) + 2) + data
    return Metadata(
        exif=exif.removeprefix(HEADER) or None if exif else None,
        xmp=xmp.encode() if isinstance(xmp, str) else xmp,
        icc=info.get("icc_profile") or None,
        dpi=_dpi(info.get("dpi")),
        segments=segments,
    )


def _dpi(value: Any) -> tuple[float, float] | None:
    if not isinstance(value, tuple):
        return None
    x, y = map(float, value)
    return (x, y) if 0 < x < 1e6 and 0 < y < 1e6 else None
