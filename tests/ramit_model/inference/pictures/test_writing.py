"""What is written can be read again: pixels, transparency and metadata, in every format."""

import io
from dataclasses import replace

import awkward
import numpy as np
import pytest
from awkward import DPI, HEIGHT, SRGB, WIDTH, XMP
from helpers import photograph
from PIL import Image

from ramit_model.inference.pictures.formats import FORMATS, Format, format_of
from ramit_model.inference.pictures.picture import Metadata, Picture, PictureError
from ramit_model.inference.pictures.reading import read_picture
from ramit_model.inference.pictures.writing import encode_picture

COLOR = photograph(HEIGHT, WIDTH)
ALPHA = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH)).astype(np.uint8)
METADATA = Metadata(exif=awkward.exif()[6:], xmp=XMP.replace(b'"6"', b'"1"'), icc=SRGB, dpi=DPI).resized(HEIGHT, WIDTH)


def written(picture: Picture, kind: Format, quality: int | None = None) -> Picture:
    return read_picture(b"".join(encode_picture(picture, kind, quality)[0]))


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
def test_lossless_formats_keep_8_bits(kind: Format, transparent: bool, gray: bool) -> None:
    pixels = np.ascontiguousarray(COLOR[..., 0]) if gray else COLOR
    again = written(Picture(pixels, ALPHA if transparent else None), kind)
    expected = np.dstack([pixels] * 3) if gray and again.pixels.ndim == 3 else pixels
    assert np.array_equal(again.pixels, expected)
    assert (again.alpha is not None) == transparent
    assert not transparent or np.array_equal(again.alpha, ALPHA)


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_16_bits(kind: Format, transparent: bool, gray: bool) -> None:
    pixels, alpha = COLOR.astype(np.uint16) * 251 + 7, ALPHA.astype(np.uint16) * 203
    pixels = np.ascontiguousarray(pixels[..., 0]) if gray else pixels
    again = written(Picture(pixels, alpha if transparent else None), kind)
    expected = np.dstack([pixels] * 3) if gray and again.pixels.ndim == 3 else pixels
    assert np.array_equal(again.pixels, expected)
    assert not transparent or np.array_equal(again.alpha, alpha)


def test_floats_in_tiff_and_png() -> None:
    picture = Picture(COLOR.astype(np.float32) / 255 * 1.2 - 0.1)
    assert np.array_equal(written(picture, "tiff").pixels, picture.pixels)
    assert np.array_equal(written(picture, "png").pixels, np.rint(np.clip(picture.pixels, 0, 1) * 65535))


@pytest.mark.parametrize("kind", ["jpg", "webp"])
def test_8_bit_formats_say_that_they_round(kind: Format) -> None:
    content, notes = encode_picture(Picture(COLOR.astype(np.uint16) * 257), kind, 100)
    assert notes == ("16 bits per channel rounded to 8",)
    difference = read_picture(b"".join(content)).pixels.astype(int) - COLOR
    assert np.abs(difference).mean() < 1


def test_jpeg_lays_transparency_on_white_with_a_word() -> None:
    content, notes = encode_picture(Picture(COLOR, np.zeros((HEIGHT, WIDTH), np.uint8)), "jpg")
    assert "white" in notes[0]
    assert read_picture(b"".join(content)).pixels.min() > 250


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("kind", FORMATS)
def test_metadata_survive(kind: Format, deep: bool) -> None:
    pixels = COLOR.astype(np.uint16) * 257 if deep else COLOR
    again = written(Picture(pixels, metadata=METADATA), kind).metadata
    assert again.icc == METADATA.icc
    assert again.xmp == METADATA.xmp
    if kind != "webp":  # which has no place for it
        assert again.dpi == pytest.approx(DPI, abs=0.02)
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + (again.exif or b""))
    assert awkward.maker(exif) == awkward.MAKER
    assert exif.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
    assert exif.get_ifd(0x8769)[0x927C] == b"maker\0note" * 5
    assert exif.get_ifd(0x8825)[2] == (48.0, 51.0, 30.25)
    if kind != "tiff":
        assert again.exif == METADATA.exif


def test_pillow_reads_them_too() -> None:
    for kind in FORMATS:
        content = b"".join(encode_picture(Picture(COLOR, metadata=METADATA), kind)[0])
        image = Image.open(io.BytesIO(content))
        image.load()
        assert image.info["icc_profile"] == SRGB
        assert awkward.maker(image.getexif()) == awkward.MAKER


def test_png_texts_and_color_chunks_are_kept() -> None:
    chunks = ((b"gAMA", (45455).to_bytes(4, "big")), (b"tEXt", b"Title\0a title"))
    again = written(Picture(COLOR, metadata=Metadata(chunks=chunks)), "png")
    assert again.metadata.chunks == chunks


def test_jpeg_keeps_iptc() -> None:
    segment = b"\xff\xed" + (2 + 20).to_bytes(2, "big") + b"Photoshop 3.0\0caption"[:20]
    picture = Picture(COLOR, metadata=Metadata(segments=segment))
    assert written(picture, "jpg").metadata.segments == segment


def test_stripped_keeps_the_profile_alone() -> None:
    assert Picture(COLOR, metadata=METADATA).stripped().metadata == Metadata(icc=SRGB)


def test_damaged_exif_is_dropped() -> None:
    assert replace(METADATA, exif=b"II*\0\xff\xff\0\0").resized(3, 4).exif is None


def test_too_large_for_webp() -> None:
    with pytest.raises(PictureError, match="20000x1"):
        encode_picture(Picture(np.zeros((1, 20000, 3), np.uint8)), "webp")


def test_quality() -> None:
    sizes = [len(encode_picture(Picture(COLOR), "jpg", quality)[0][0]) for quality in (20, None, 100)]
    assert sizes == sorted(sizes)
    lossy = encode_picture(Picture(COLOR, lossless=False), "webp")[0][0]
    assert b"VP8L" not in lossy
    assert b"VP8L" in encode_picture(Picture(COLOR, lossless=False), "webp", 100)[0][0]


@pytest.mark.parametrize(("name", "kind"), [("a.JPEG", "jpg"), ("a.tif", "tiff"), ("a.gif", "png"), ("a", "png")])
def test_format_of(name: str, kind: Format) -> None:
    assert format_of(name) == kind
