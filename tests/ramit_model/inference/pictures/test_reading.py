"""Pictures of every kind are read the right way up, with their metadata; what cannot be read is refused with a word."""

import io

import awkward
import cv2
import numpy as np
import pytest
import tifffile
from awkward import HEIGHT, WIDTH, Awkward, encoded
from helpers import photograph
from PIL import Image

from ramit_model.inference.pictures.picture import PictureError
from ramit_model.inference.pictures.reading import check_size, picture_size, read_picture

GOOD, BAD = list(awkward.good()), list(awkward.bad())


@pytest.mark.parametrize("file", GOOD, ids=lambda file: ascii(file.name))
def test_good_files(file: Awkward) -> None:
    picture = read_picture(file.content)
    assert picture.size == file.size
    assert picture.pixels.flags["C_CONTIGUOUS"]
    metadata = picture.metadata
    there = {name for name in ("exif", "xmp", "icc", "dpi") if getattr(metadata, name)}
    there |= {"alpha"} if picture.alpha is not None else set()
    there |= {"deep"} if picture.pixels.dtype != np.uint8 else set()
    there |= {"gray"} if picture.pixels.ndim == 2 else set()
    assert set(file.kept) <= there
    assert ("deep" in there) == ("deep" in file.kept)


@pytest.mark.bad_input
@pytest.mark.parametrize("file", BAD, ids=lambda file: ascii(file.name))
def test_bad_files(file: Awkward) -> None:
    with pytest.raises(PictureError) as caught:
        read_picture(file.content)
    assert file.fault is not None
    assert file.fault in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("suffix", ["png", "bmp", "jpg"])
def test_pixels_are_those_that_opencv_reads(suffix: str) -> None:
    content = cv2.imencode(f".{suffix}", photograph(HEIGHT, WIDTH))[1].tobytes()
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(read_picture(content).pixels[..., ::-1], expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_pictures_are_turned_like_others(orientation: int) -> None:
    image = Image.fromarray(photograph(HEIGHT, WIDTH))
    flat = read_picture(encoded(image, "PNG", exif=awkward.exif(orientation))).pixels
    deep = awkward.deep_png(np.asarray(image).astype(np.uint16) * 257)
    deep = deep[:33] + awkward.png_chunk(b"eXIf", awkward.exif(orientation)[6:]) + deep[33:]
    assert np.array_equal(read_picture(deep).pixels, flat.astype(np.uint16) * 257)


def by_name(name: str) -> bytes:
    return next(file.content for file in GOOD if file.name == name)


@pytest.mark.parametrize("name", ["orientation6.jpg", "turned.png", "turned.webp", "turned16.png"])
def test_exif_says_upright_and_keeps_everything_else(name: str) -> None:
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + (read_picture(by_name(name)).metadata.exif or b""))
    assert exif[0x0112] == 1
    assert awkward.maker(exif) == awkward.MAKER
    details = exif.get_ifd(0x8769)
    assert details[0x927C] == b"maker\0note" * 5
    assert (details[0xA002], details[0xA003]) == (HEIGHT, WIDTH)  # turned by a quarter
    assert exif.get_ifd(0x8825)[2] == (48.0, 51.0, 30.25)


def test_a_thumbnail_of_the_old_picture_is_not_kept() -> None:
    small = io.BytesIO()
    Image.new("RGB", (8, 8)).save(small, "JPEG")
    exif = bytearray(awkward.exif()[6:])
    # A second directory after the first: one entry, the place of a thumbnail.
    count = int.from_bytes(exif[8:10], "little" if exif[:2] == b"II" else "big")
    exif[10 + 12 * count : 14 + 12 * count] = len(exif).to_bytes(4, "little" if exif[:2] == b"II" else "big")
    image = Image.fromarray(photograph(HEIGHT, WIDTH))
    content = encoded(image, "JPEG", exif=b"Exif\0\0" + bytes(exif) + bytes(6))
    kept = read_picture(content).metadata.exif or b""
    assert kept[10 + 12 * count : 14 + 12 * count] == bytes(4)


def test_transparent_means_zero_alpha() -> None:
    picture = read_picture(by_name("rgba.png"))
    assert picture.alpha is not None
    assert picture.alpha[0, 0] == 0
    assert picture.alpha[HEIGHT // 2, WIDTH // 2] == 255


def test_opaque_alpha_is_none() -> None:
    content = encoded(Image.fromarray(photograph(HEIGHT, WIDTH)).convert("RGBA"), "PNG")
    assert read_picture(content).alpha is None


def test_cmyk_is_converted_with_a_word() -> None:
    picture = read_picture(by_name("cmyk.jpg"))
    assert any("CMYK" in note for note in picture.notes)
    assert picture.pixels.shape == (HEIGHT, WIDTH, 3)
    reference = read_picture(by_name("plain.png")).pixels
    assert np.abs(picture.pixels.astype(int) - reference).mean() < 6


def test_lab_comes_back_nearly_as_it_was() -> None:
    difference = read_picture(by_name("lab.tif")).pixels.astype(int) - read_picture(by_name("plain.png")).pixels
    assert np.abs(difference).mean() < 4


def test_a_reduced_picture_beside_the_first_is_no_second_page() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(photograph(HEIGHT, WIDTH), photometric="rgb")
        writer.write(photograph(9, 13), photometric="rgb", subfiletype=1)
    assert np.array_equal(read_picture(file.getvalue()).pixels, photograph(HEIGHT, WIDTH))


def test_sizes_are_checked_before_decoding() -> None:
    content = by_name("plain.png")
    assert picture_size(content) == (HEIGHT, WIDTH)
    assert check_size(content, 2) == 6 * HEIGHT * WIDTH * 5
    with pytest.raises(PictureError, match="claims"):
        content = awkward.png_header(100_000, 100_000) + awkward.png_chunk(b"IEND", b"") + bytes(2_000_000)
        check_size(content, 2)
    bmp = bytearray(encoded(Image.fromarray(photograph(HEIGHT, WIDTH)), "BMP"))
    bmp[18:22] = (-5).to_bytes(4, "little", signed=True)
    with pytest.raises(PictureError, match=rf"^claims -5x{HEIGHT} pixels, which no picture has; replace it$"):
        check_size(bytes(bmp))
