"""Headers of image files: lies, cuts, and what 8-bit RGB has no room for."""

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from helpers import photograph

from datasets_prep.headers import claimed_size, read_header
from datasets_prep.image_formats import ImageError


def encoded(kind: str, image: Any = None, **options: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(photograph(40, 48) if image is None else image).save(file, kind, **options)
    return file.getvalue()


def bmp(width: int, height: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 100, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 154, 0, 0, 54) + header + bytes(100)


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0) + bytes(60)


LIES = {
    "negative width": (bmp(-127, 64), "claims -127x64 pixels, which no image has"),
    "no width": (png(0, 64), "claims 0x64 pixels, which no image has"),
    "gigapixels of a PNG": (png(2**30, 2**30), "far more than its 89 bytes can hold"),
    "gigapixels of a BMP": (bmp(100000, 100000), "far more than its 154 bytes can hold"),
    "gigapixels of a PPM": (b"P6\n100000 100000\n255\n" + bytes(80), "far more than its 101 bytes can hold"),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("name", LIES)
def test_lies(tmp_path: Path, name: str) -> None:
    content, message = LIES[name]
    with pytest.raises(ImageError, match=message):
        claimed_size(content, len(content))
    (tmp_path / "image").write_bytes(content)
    with pytest.raises(ImageError, match=message):
        read_header(tmp_path / "image")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM"])
def test_the_truth(tmp_path: Path, kind: str) -> None:
    (tmp_path / "image").write_bytes(encoded(kind))
    assert read_header(tmp_path / "image") == ((40, 48), ())
    assert claimed_size(encoded(kind)[:4096], 10**6) in ((40, 48), None)


def test_one_color_takes_few_bytes(tmp_path: Path) -> None:
    """No picture of one color is a lie."""
    for kind in ("PNG", "JPEG", "TIFF", "WEBP"):
        options = {"compression": "tiff_lzw"} if kind == "TIFF" else {"lossless": True} if kind == "WEBP" else {}
        (tmp_path / "image").write_bytes(encoded(kind, np.zeros((4000, 4000), np.uint8), **options))
        assert read_header(tmp_path / "image").size == (4000, 4000)


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_cut_files(tmp_path: Path, kind: str) -> None:
    content = encoded(kind)
    for length in (len(content) // 2, len(content) - 2):
        (tmp_path / "image").write_bytes(content[:length])
        with pytest.raises(ImageError, match="cut short or damaged"):
            read_header(tmp_path / "image")


def test_the_end_of_a_preview_is_not_the_end(tmp_path: Path) -> None:
    content = encoded("JPEG", exif=b"Exif\0\0" + encoded("JPEG"))
    (tmp_path / "image").write_bytes(content)
    read_header(tmp_path / "image")
    (tmp_path / "image").write_bytes(content[:-2])
    with pytest.raises(ImageError, match="cut short or damaged"):
        read_header(tmp_path / "image")


def test_extras(tmp_path: Path) -> None:
    image = photograph(16, 16)
    rgba = np.dstack([image, np.full((16, 16), 9, np.uint8)])
    contents = {
        ("transparency",): [encoded("PNG", rgba), encoded("WEBP", rgba), encoded("TIFF", rgba)],
        ("16 bits",): [bytes(cv2.imencode(suffix, image.astype(np.uint16) * 257)[1]) for suffix in (".png", ".tif")],
        ("an ICC profile",): [encoded(kind, icc_profile=bytes(200)) for kind in ("PNG", "JPEG", "TIFF", "WEBP")],
        (): [encoded("PNG"), encoded("BMP", rgba[..., :3])],
    }
    for extras, of_kind in contents.items():
        for content in of_kind:
            (tmp_path / "image").write_bytes(content)
            assert read_header(tmp_path / "image").extras == extras
