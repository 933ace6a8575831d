"""Strict decoding: OpenCV's pixels of every ordinary file, and one plain line for any other."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_prep.headers import size_in_header
from datasets_prep.image_files import Treatment, decode, encode_png
from datasets_prep.image_formats import ImageError

COLOR, GRAY, ROUND = Treatment(), Treatment(color="gray"), Treatment(deep="round")
LOSSLESS = ("PNG", "BMP", "TIFF")


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3): noise in a corner of a ramp, of all that is easy and hard to compress."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([y * 5, x * 5, (x + y) * 3], -1).astype(np.uint8)
    image[: height // 2, : width // 2] = np.random.default_rng(seed).integers(0, 256, (height // 2, width // 2, 3))
    return image


def saved(image: PIL.Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    image = image if isinstance(image, PIL.Image.Image) else PIL.Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def opencv(content: bytes, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), flags)


def exif(orientation: int) -> PIL.Image.Exif:
    data = PIL.Image.Exif()
    data[0x0112] = orientation
    return data


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    image: np.ndarray, *, color: int, bits: int = 8, before: bytes = b"", behind: bytes = b"", cut: int | None = None
) -> bytes:
    """A PNG of rows as they are stored: (H, W) or (H, W, C), with chunks before and behind the pixels."""
    height, width = image.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in (image.astype(">u2") if bits == 16 else image))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows)[:cut])
    return b"\x89PNG\r\n\x1a\n" + header + before + data + behind + chunk(b"IEND", b"")


def tiff(image: np.ndarray, photometric: int, **tags: int) -> bytes:
    """An uncompressed TIFF in one strip (or one for each plane), of samples as they are; tags by `t` and number."""
    height, width, samples = (*image.shape, 1)[:3]
    planar = tags.get("t284") == 2
    data = np.ascontiguousarray(image.transpose(2, 0, 1) if planar else image).tobytes()
    strips = samples if planar else 1
    bits = 8 * image.itemsize
    entries: dict[int, tuple[str, list[int]]] = {256: ("H", [width]), 257: ("H", [height])}
    entries |= {258: ("H", [bits] * samples), 259: ("H", [1]), 262: ("H", [photometric]), 278: ("H", [height])}
    entries |= {277: ("H", [samples]), 273: ("I", [8 + i * len(data) // strips for i in range(strips)])}
    entries |= {279: ("I", [len(data) // strips] * strips)}
    counts = {"t338": samples - 3, "t339": samples}
    entries |= {int(name[1:]): ("H", [value] * counts.get(name, 1)) for name, value in tags.items()}
    directory, spill = struct.pack("<H", len(entries)), b""
    spill_at = 8 + len(data) + 2 + 12 * len(entries) + 4
    for tag, (code, values) in sorted(entries.items()):
        packed = struct.pack(f"<{len(values)}{code}", *values)
        if len(packed) > 4:
            packed, spill = struct.pack("<I", spill_at + len(spill)), spill + packed
        directory += struct.pack("<HHI", tag, 3 if code == "H" else 4, len(values)) + packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + b"\0\0\0\0" + spill


def refusal(content: bytes, treatment: Treatment = COLOR) -> str:
    with pytest.raises(ImageError) as caught:
        decode(content, treatment)
    line = str(caught.value)
    assert "\n" not in line
    assert ";" in line or "," in line  # what to do
    return line


# Ordinary images ------------------------------------------------------------------------------------------------------

ORDINARY = [
    *((kind, mode, {}) for kind in ("PNG", "BMP", "TIFF") for mode in ("1", "L", "P", "RGB")),
    *(("TIFF", mode, {"compression": c}) for mode in ("L", "P", "RGB") for c in ("tiff_lzw", "tiff_adobe_deflate")),
    ("TIFF", "RGB", {"compression": "packbits"}),
    ("TIFF", "RGB", {"compression": "jpeg"}),
    ("TIFF", "1", {"compression": "group4"}),
    *(("JPEG", mode, {"progressive": p}) for mode in ("L", "RGB") for p in (False, True)),
    *(("WEBP", "RGB", {"lossless": lossless}) for lossless in (False, True)),
]


def in_mode(image: np.ndarray, mode: str) -> PIL.Image.Image:
    picture = PIL.Image.fromarray(image)
    return picture.quantize(7) if mode == "P" else picture.convert(mode)


@settings(max_examples=250, deadline=None)
@given(
    case=st.sampled_from(ORDINARY),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    orientation=st.sampled_from([None, *range(1, 9)]),
    seed=st.integers(0, 99),
)
def test_pixels_are_opencvs(
    case: tuple[str, str, dict[str, Any]], height: int, width: int, orientation: int | None, seed: int
) -> None:
    kind, mode, options = case
    picture = in_mode(pixels(height, width, seed), mode)
    turned = orientation is not None and kind != "BMP"
    content = saved(picture, kind, **options, **({"exif": exif(orientation)} if turned else {}))
    image, notes = decode(content, COLOR)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, opencv(content))
    if mode != "P":  # of few grays, Pillow takes some for gray
        assert notes == (("gray stored as color",) if mode in ("1", "L") else ())
    if kind in LOSSLESS and options.get("compression") != "jpeg":
        expected = picture.convert("RGB")
        if turned:
            expected.getexif()[0x0112] = orientation
            expected = PIL.ImageOps.exif_transpose(expected)
        np.testing.assert_array_equal(image[..., ::-1], np.asarray(expected))
    size = size_in_header(content)
    assert size == image.shape[:2] or (size is None and turned and kind in ("PNG", "WEBP"))


def test_real_images(assets: Path) -> None:
    """Photographs, TIFFs and gray PNGs as their publishers wrote them."""
    patterns = ("McMaster6/*.tif", "BSDS500_train200/*.jpg", "Set12/*.png", "Set5/HR/*.png")
    paths = [path for pattern in patterns for path in sorted((assets / "images").glob(pattern))[:3]]
    assert {path.suffix for path in paths} == {".tif", ".jpg", ".png"}
    for path in paths:
        image, notes = decode(path.read_bytes(), COLOR)
        np.testing.assert_array_equal(image, cv2.imread(str(path)))
        assert bool(notes) == (path.parent.name == "Set12")
        assert size_in_header(path) == image.shape[:2]


# Colours --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
def test_a_gray_set_holds_gray_images(kind: str) -> None:
    gray = PIL.Image.fromarray(pixels(9, 7)).convert("L")
    content = saved(gray, kind)
    image, notes = decode(content, GRAY)
    assert image.shape == (9, 7)
    np.testing.assert_array_equal(image, opencv(content, cv2.IMREAD_GRAYSCALE))
    assert notes == ()


def test_equal_channels_are_gray() -> None:
    gray = PIL.Image.fromarray(pixels(9, 7)).convert("L")
    image, notes = decode(saved(gray.convert("RGB"), "PNG"), GRAY)
    np.testing.assert_array_equal(image, np.asarray(gray))
    assert image.flags.c_contiguous
    assert notes == ("equal channels stored as gray",)
    assert decode(saved(gray.convert("RGB"), "PNG"), COLOR).notes == ()


@pytest.mark.parametrize("channel", range(3))
def test_one_colored_pixel_is_color(channel: int) -> None:
    image = np.full((5, 6, 3), 100, np.uint8)
    image[4, 5, channel] = 101
    assert "is colored, in a gray set" in refusal(saved(image, "PNG"), GRAY)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(kind: str) -> None:
    content = saved(PIL.Image.fromarray(pixels(9, 7)).convert("CMYK"), kind)
    assert refusal(content) == "is CMYK; convert it to RGB"


OTHER_TIFFS = {
    "float": (tiff(np.zeros((4, 5), np.float32), 1, t339=3), "floating-point"),
    "half": (tiff(np.zeros((4, 5), np.float16), 1, t339=3), "of an unusual kind"),
    "signed": (tiff(np.zeros((4, 5), np.int8), 1, t339=2), "signed"),
    "signed 16": (tiff(np.zeros((4, 5), np.int16), 1, t339=2), "signed"),
    "32 bits": (tiff(np.zeros((4, 5), np.uint32), 1), "has 32 bits"),
    "LAB": (tiff(np.zeros((4, 5, 3), np.uint8), 8), "is LAB"),
    "white is zero, 16 bits": (tiff(np.zeros((4, 5), np.uint16), 0), "16-bit TIFF of an unusual kind"),
    "planes, 16 bits": (tiff(np.zeros((4, 5, 3), np.uint16), 2, t284=2), "16-bit TIFF of an unusual kind"),
    "five channels": (tiff(np.zeros((4, 5, 5), np.uint8), 2, t338=0), "has 5 channels"),
}


@pytest.mark.parametrize("name", OTHER_TIFFS)
def test_tiffs_that_opencv_misreads(name: str) -> None:
    content, reason = OTHER_TIFFS[name]
    assert reason in refusal(content, ROUND)


def test_unusual_tiffs_that_opencv_reads() -> None:
    image = pixels(9, 7)
    np.testing.assert_array_equal(decode(tiff(image, 2, t284=2), COLOR).image, image[..., ::-1])
    np.testing.assert_array_equal(decode(tiff(image[..., 0].copy(), 0), GRAY).image, 255 - image[..., 0])


# Depth ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF, little", "TIFF, big"])
def test_every_16_bit_value_is_rounded(kind: str) -> None:
    deep = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    content = saved(deep.astype(">u2") if kind.endswith("big") else deep, kind.split(",", maxsplit=1)[0])
    assert "has 16 bits per channel" in refusal(content)
    image, notes = decode(content, Treatment("gray", "round"))
    np.testing.assert_array_equal(image, np.floor(deep / 257.0 + 0.5))
    assert notes == ("16 bits rounded to 8",)
    image, notes = decode(content, ROUND)
    assert image.shape == (256, 256, 3)
    assert set(notes) == {"16 bits rounded to 8", "gray stored as color"}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_color(kind: str) -> None:
    deep = np.random.default_rng(0).integers(0, 2**16, (9, 7, 3)).astype(np.uint16)
    content = png(deep, color=2, bits=16) if kind == "PNG" else tiff(deep, 2)
    assert "has 16 bits per channel" in refusal(content)
    np.testing.assert_array_equal(decode(content, ROUND).image[..., ::-1], np.floor(deep / 257.0 + 0.5))
    assert "is colored" in refusal(content, Treatment("gray", "round"))


def test_color_below_8_bits_is_color() -> None:
    deep = np.full((3, 4, 3), 1000, np.uint16)
    deep[0, 0, 0] += 1
    assert "is colored" in refusal(png(deep, color=2, bits=16), Treatment("gray", "round"))


def test_8_bit_images_are_not_rounded() -> None:
    content = saved(pixels(9, 7), "PNG")
    np.testing.assert_array_equal(decode(content, ROUND).image, decode(content, COLOR).image)
    assert decode(content, ROUND).notes == ()


# Alpha ----------------------------------------------------------------------------------------------------------------


def with_alpha(mode: str, alpha: int) -> PIL.Image.Image:
    """All opaque but the last pixel."""
    picture = PIL.Image.fromarray(pixels(9, 7)).convert(mode)
    picture.putpixel((6, 8), (*picture.getpixel((6, 8))[:-1], alpha))
    return picture


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGBA"), ("PNG", "LA"), ("TIFF", "RGBA"), ("TIFF", "LA"), ("WEBP", "RGBA")]
)
def test_alpha(kind: str, mode: str) -> None:
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert refusal(saved(with_alpha(mode, 254), kind, **options)) == "has transparent pixels; flatten it"
    if kind == "WEBP":
        return  # Pillow writes no alpha channel that says nothing
    image, notes = decode(saved(with_alpha(mode, 255), kind, **options), COLOR)
    np.testing.assert_array_equal(image[..., ::-1], np.asarray(with_alpha(mode, 255).convert("RGB")))
    gray = ("gray stored as color",) if mode == "LA" else ()
    assert notes == ("opaque alpha dropped", *gray)


@pytest.mark.parametrize("clear", [0, 1, 2])
def test_the_fourth_channel_of_a_tiff(clear: int) -> None:
    """Whatever it says that it is: nothing, unspecified, premultiplied alpha."""
    image = np.dstack([pixels(9, 7), np.full((9, 7), 255, np.uint8)])
    assert decode(tiff(image, 2, t338=clear), COLOR).notes == ("opaque alpha dropped",)
    image[3, 4, 3] = 0
    assert "transparent" in refusal(tiff(image, 2, t338=clear))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_alpha_is_looked_at_in_full_depth(kind: str) -> None:
    image = np.full((3, 4, 4), 2**16 - 1, np.uint16)
    for alpha in (2**16 - 1, 2**16 - 2):
        image[1, 2, 3] = alpha
        content = png(image, color=6, bits=16) if kind == "PNG" else tiff(image, 2, t338=2)
        if alpha == 2**16 - 1:
            assert set(decode(content, ROUND).notes) == {"opaque alpha dropped", "16 bits rounded to 8"}
        else:
            assert "transparent" in refusal(content, ROUND)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_gray(bits: int) -> None:
    """All values from 0 to 1 less than the number of columns are there: more are not."""
    columns = 8 // min(bits, 8) if bits < 8 else 8
    values = np.minimum(np.arange(columns), max(2**bits - 2, 0)).astype(np.uint16)
    packed = np.packbits([(v >> np.arange(bits)[::-1]) & 1 for v in values]) if bits < 8 else values
    stored = np.tile(packed, (2, 1)).astype(np.uint16 if bits == 16 else np.uint8)
    for clear, transparent in ((0, True), (values[-1], True), (2**bits - 1, False)):
        before = chunk(b"tRNS", struct.pack(">H", clear))
        content = png(stored, color=0, bits=bits, before=before)
        if bits < 8:  # the header counts bytes where it should count pixels
            header = struct.pack(">IIBBBBB", columns, 2, bits, 0, 0, 0, 0)
            content = content[:8] + chunk(b"IHDR", header) + content[33:]
        if transparent:
            assert "transparent" in refusal(content, ROUND)
        else:
            assert "opaque alpha dropped" in decode(content, ROUND).notes


def test_a_transparent_color() -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    image[3, 4] = (1, 2, 3)
    for clear, transparent in (((1, 2, 3), True), ((1, 2, 4), False), ((0, 2, 3), False)):
        content = png(image, color=2, before=chunk(b"tRNS", struct.pack(">HHH", *clear)))
        if transparent:
            assert "transparent" in refusal(content)
        else:
            assert decode(content, COLOR).notes == ("opaque alpha dropped",)


def test_a_transparent_palette() -> None:
    indices = np.array([[0, 1, 1], [1, 0, 1]], np.uint8)
    palette = chunk(b"PLTE", bytes(range(50, 59)))
    for alphas, transparent in ((b"\xff\xfe", True), (b"\xff\xff\x00", False), (b"\xff", False)):
        content = png(indices, color=3, before=palette + chunk(b"tRNS", alphas))
        if transparent:
            assert "transparent" in refusal(content)
        else:
            image, notes = decode(content, COLOR)
            assert notes == ("opaque alpha dropped",)
            np.testing.assert_array_equal(image[0, :2, ::-1], [[50, 51, 52], [53, 54, 55]])


def test_32_bit_bmps() -> None:
    """The fourth byte is nothing, unless a mask says that it is alpha."""
    image = np.dstack([pixels(9, 7)[..., ::-1], np.zeros((9, 7), np.uint8)])
    head = struct.pack("<IiiHHIIiiII", 40, 7, -9, 1, 32, 0, image.size, 0, 0, 0, 0)
    content = b"BM" + struct.pack("<IHHI", 54 + image.size, 0, 0, 54) + head + image.tobytes()
    decoded, notes = decode(content, COLOR)
    np.testing.assert_array_equal(decoded, image[..., :3])
    assert notes == ()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = struct.pack("<IiiHHIIiiII", 108, 7, -9, 1, 32, 3, image.size, 0, 0, 0, 0) + masks.ljust(68, b"\0")
    content = b"BM" + struct.pack("<IHHI", 122 + image.size, 0, 0, 122) + head
    assert "transparent" in refusal(content + image.tobytes())
    image[..., 3] = 255
    decoded, notes = decode(content + image.tobytes(), COLOR)
    np.testing.assert_array_equal(decoded, image[..., :3])
    assert notes == ("opaque alpha dropped",)


# Several pictures, sizes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "PNG"])
def test_several_pictures(kind: str) -> None:
    first, *others = (PIL.Image.fromarray(pixels(9, 7, seed)) for seed in range(3))
    assert "holds 3 pictures" in refusal(saved(first, kind, save_all=True, append_images=others))
    decode(saved(first, kind, save_all=True), COLOR)


def test_an_animation_behind_a_still_picture() -> None:
    image = pixels(9, 7)
    control = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 7, 9, 0, 0, 1, 1, 0, 0))
    frame = chunk(b"fdAT", struct.pack(">I", 1) + zlib.compress(b"".join(b"\0" + row.tobytes() for row in image)))
    content = png(image, color=2, before=chunk(b"acTL", struct.pack(">II", 1, 0)), behind=control + frame)
    assert "holds 2 pictures" in refusal(content)


def test_a_camera_s_preview_is_noted() -> None:
    first, other = (PIL.Image.fromarray(pixels(9, 7, seed)) for seed in range(2))
    content = saved(first, "MPO", save_all=True, append_images=[other])
    image, notes = decode(content, COLOR)
    np.testing.assert_array_equal(image, opencv(saved(first, "JPEG")))
    assert notes == ("further pictures beside the first dropped",)


def claim(kind: str, height: int, width: int) -> bytes:
    """A small image whose header claims another size."""
    content = bytearray(saved(pixels(9, 7), kind))
    if kind == "PNG":
        content[8:33] = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    elif kind == "JPEG":
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = struct.pack(">HH", height, width)
    elif kind == "BMP":
        content[18:26] = struct.pack("<ii", width, height)
    return bytes(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_absurd_sizes(kind: str) -> None:
    assert "claims 65000x65000 pixels" in refusal(claim(kind, 65000, 65000))
    assert "claims 8193x65536" in refusal(claim("BMP", 8193, 65536))
    assert size_in_header(claim("PNG", 8192, 65536)) == (8192, 65536)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_large_sizes_are_no_attack(kind: str) -> None:
    """Pillow would refuse to open images of more than 179 million pixels."""
    assert size_in_header(claim(kind, 15000, 14000)) == (15000, 14000)
    assert "is cut short or damaged" in refusal(claim(kind, 15000, 14000))


def test_sizes_of_no_image(tmp_path: Path) -> None:
    for content in (b"", b"BM", b"no image", saved(pixels(9, 7), "PNG")[:20]):
        assert size_in_header(content) is None
    assert size_in_header(tmp_path / "nowhere.png") is None


@pytest.mark.parametrize("order", ["<", ">"])
def test_odd_orientations(order: str) -> None:
    """Values that mean nothing, and entries of other types, which some cameras write."""
    content = saved(pixels(9, 7), "JPEG")
    for kind, value in [*((3, value) for value in range(12)), (3, 0x106), (4, 6), (4, 1), (1, 6), (99, 6)]:
        start = b"II*\0" if order == "<" else b"MM\0*"
        entry = struct.pack(order + "HHIHH", 0x0112, kind, 1, value, 0)
        app1 = b"Exif\0\0" + start + struct.pack(order + "IH", 8, 1) + entry + bytes(4)
        turned = content[:2] + b"\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + content[2:]
        assert size_in_header(turned) == opencv(turned).shape[:2], (kind, value)


def test_opencv_obeys_exif_but_not_xmp() -> None:
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    app1 = b"http://ns.adobe.com/xap/1.0/\0" + xmp
    other_exif = PIL.Image.Exif()
    other_exif[0x0110] = "camera"
    content = saved(pixels(9, 7), "JPEG", exif=other_exif)
    content = content[:2] + b"\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + content[2:]
    assert size_in_header(content) == decode(content, COLOR).image.shape[:2] == (9, 7)
    behind = chunk(b"eXIf", exif(6).tobytes().removeprefix(b"Exif\0\0"))
    content = png(pixels(9, 7), color=2, behind=behind)
    assert decode(content, COLOR).image.shape == opencv(content).shape
    assert size_in_header(content) in (None, opencv(content).shape[:2])


# Damage ---------------------------------------------------------------------------------------------------------------


def samples() -> dict[str, bytes]:
    image = pixels(12, 17)
    thumbnail = exif(1)
    thumbnail_file = saved(pixels(4, 4), "JPEG")
    app1 = b"Exif\0\0" + thumbnail.tobytes().removeprefix(b"Exif\0\0") + thumbnail_file
    jpeg = saved(image, "JPEG")
    return {
        "PNG": saved(image, "PNG"),
        "PNG, palette": saved(PIL.Image.fromarray(image).quantize(9), "PNG"),
        "JPEG": jpeg,
        "JPEG, progressive": saved(image, "JPEG", progressive=True),
        "JPEG, thumbnail": jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + jpeg[2:],
        "BMP": saved(image, "BMP"),
        "TIFF": saved(image, "TIFF"),
        "TIFF, directory last": tiff(image, 2),
        "TIFF, LZW": saved(image, "TIFF", compression="tiff_lzw"),
        "WEBP": saved(image, "WEBP"),
        "WEBP, lossless": saved(image, "WEBP", lossless=True),
    }


SAMPLES = samples()


def test_empty_and_other_files() -> None:
    assert refusal(b"") == "is empty; replace or remove it"
    for content in (b"not an image", b"\0", b"\x89PN", b"GIF89a"):
        assert refusal(content).startswith("cannot be decoded as an image")


@pytest.mark.parametrize("name", SAMPLES)
def test_every_cut_is_found(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    content = SAMPLES[name]
    decode(content, COLOR)
    for length in range(12, len(content)):
        assert refusal(content[:length]).startswith("is cut short or damaged")
    if name.startswith("PNG"):
        assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", SAMPLES)
def test_cuts_are_found_without_opencv(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of its versions return what they could read."""
    monkeypatch.setattr(cv2, "imdecode", lambda content, flags: np.zeros((12, 17, 3), np.uint8))
    assert decode(SAMPLES[name], COLOR).image.shape == (12, 17, 3)
    padding = 1 if name == "BMP" else 0  # without it no pixel is lost
    for length in range(12, len(SAMPLES[name]) - padding):
        assert refusal(SAMPLES[name][:length]).startswith("is cut short or damaged")


def test_a_size_that_is_not_the_header_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda content, flags: np.zeros((12, 16, 3), np.uint8))
    assert "is cut short or damaged" in refusal(SAMPLES["BMP"])


def test_what_follows_an_image_is_no_damage() -> None:
    for name in ("PNG", "JPEG", "BMP", "TIFF"):
        image, _ = decode(SAMPLES[name] + b"more", COLOR)
        np.testing.assert_array_equal(image, opencv(SAMPLES[name]))


@pytest.mark.parametrize("restarts", [0, 2])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpegs_whose_pixels_end_too_early(mode: str, restarts: int) -> None:
    """A cut file with an end marker behind it, as tools write that mend files: decoders make the rest gray."""
    content = saved(PIL.Image.fromarray(pixels(60, 40)).convert(mode), "JPEG", restart_marker_blocks=restarts)
    decode(content, COLOR)
    start = content.index(b"\xff\xda") + 14
    for length in range(start, len(content) - 40):
        assert refusal(content[:length].rstrip(b"\xff") + b"\xff\xd9").startswith("is cut short or damaged")


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    mode=st.sampled_from(["L", "RGB"]),
    quality=st.integers(1, 100),
    options=st.fixed_dictionaries(
        {"subsampling": st.integers(0, 2), "optimize": st.booleans(), "restart_marker_blocks": st.integers(0, 3)}
    ),
    flat=st.booleans(),
)
def test_no_whole_jpeg_is_refused(
    height: int, width: int, mode: str, quality: int, options: dict[str, Any], flat: bool
) -> None:
    picture = PIL.Image.fromarray(pixels(height, width) // (100 if flat else 1)).convert(mode)
    content = saved(picture, "JPEG", quality=quality, **options)
    np.testing.assert_array_equal(decode(content, COLOR).image, opencv(content))


@pytest.mark.parametrize("cut", [0, 10, -4, -1])
def test_a_png_whose_chunks_are_whole_but_not_its_pixels(cut: int) -> None:
    assert "is cut short or damaged" in refusal(png(pixels(9, 7), color=2, cut=cut))


@pytest.mark.parametrize("name", ["PNG", "PNG, palette"])
def test_every_flipped_bit_of_a_png_is_found_or_harmless(name: str) -> None:
    content = SAMPLES[name]
    expected = opencv(content)
    for at in range(len(content)):
        for mask in (1, 0x20, 0x80, 0xFF):
            damaged = bytearray(content)
            damaged[at] ^= mask
            try:
                image, _ = decode(bytes(damaged), COLOR)
            except ImageError:
                continue
            np.testing.assert_array_equal(image, expected)


@settings(max_examples=600, deadline=None)
@given(
    name=st.sampled_from(sorted(SAMPLES)),
    edits=st.lists(
        st.tuples(st.sampled_from(["flip", "insert", "remove"]), st.integers(0, 2**16), st.binary(min_size=1)),
        min_size=1,
        max_size=4,
    ),
    treatment=st.builds(Treatment, st.sampled_from(["color", "gray"]), st.sampled_from(["refuse", "round"])),
)
def test_nothing_but_image_errors(name: str, edits: list[tuple[str, int, bytes]], treatment: Treatment) -> None:
    content = SAMPLES[name]
    for kind, place, some in edits:
        at = place % max(len(content), 1)
        if kind == "flip":
            content = content[:at] + bytes([some[0]]) + content[at + 1 :]
        elif kind == "insert":
            content = content[:at] + some + content[at:]
        else:
            content = content[:at] + content[at + len(some) :]
    size = size_in_header(content)
    try:
        image, _ = decode(content, treatment)
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        assert image.dtype == np.uint8
        assert image.ndim == (2 if treatment.color == "gray" else 3)
        # Where EXIF is damaged, OpenCV's versions differ on how to turn the image.
        assert size is None or sorted(size) == sorted(image.shape[:2])


@settings(max_examples=200, deadline=None)
@given(start=st.sampled_from([b"", *(content[:12] for content in SAMPLES.values())]), rest=st.binary(max_size=200))
def test_random_bytes(start: bytes, rest: bytes) -> None:
    size_in_header(start + rest)
    with pytest.raises(ImageError):
        decode(start + rest, COLOR)


# Encoding -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("color", ["color", "gray"])
def test_what_is_encoded_comes_out(color: Any) -> None:
    image = pixels(40, 50) if color == "color" else pixels(40, 50)[..., 1]
    fast, small = (encode_png(image, level) for level in (0, 9))
    assert len(small) < len(fast)
    for content in (fast, small):
        assert isinstance(content, bytes)
        decoded, notes = decode(content, Treatment(color))
        np.testing.assert_array_equal(decoded, image)
        assert notes == ()


def test_what_no_png_holds() -> None:
    with pytest.raises(ImageError, match="0x5 pixels cannot be written as PNG; cut"):
        encode_png(np.zeros((0, 5), np.uint8), 1)
