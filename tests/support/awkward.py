"""Picture files of every kind that people have, made on the spot: good ones and bad ones."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import tifffile
from helpers import photograph
from PIL import Image, ImageCms, PngImagePlugin

HEIGHT, WIDTH = 18, 26
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:title="\xc3\xa9"/></x:xmpmeta>'
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
DPI = (300, 300)
MAKER = "Maker é"


@dataclass(frozen=True)
class Awkward:
    """A file.

    Attributes:
        name: Its name.
        content: Its bytes.
        fault: Part of the line that refuses it; None: it is good.
        size: Height and width that it has the right way up; of good ones.
        kept: Metadata that must be kept: some of exif, xmp, icc, dpi, alpha, deep, gray.
    """

    name: str
    content: bytes
    fault: str | None = None
    size: tuple[int, int] = (HEIGHT, WIDTH)
    kept: tuple[str, ...] = ()


def exif(orientation: int = 1) -> bytes:
    """EXIF with a maker, a date, a maker note and GPS, as bytes with the header."""
    tags = Image.Exif()
    tags[0x010F], tags[0x0112], tags[0x0131] = MAKER.encode(), orientation, "Soft"
    tags[0x8769] = {0x9003: "2024:05:06 07:08:09", 0x927C: b"maker\0note" * 5, 0xA002: WIDTH, 0xA003: HEIGHT}
    tags[0x8825] = {1: "N", 2: (48.0, 51.0, 30.25)}
    return tags.tobytes()


def maker(exif: Image.Exif) -> str:
    """The maker in UTF-8, which Pillow takes for Latin-1."""
    return exif[0x010F].encode("latin-1").decode()


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pillow_reads(content: bytes) -> bool:
    """Whether Pillow itself decodes a file."""
    try:
        Image.open(io.BytesIO(content)).load()
    except OSError:
        return False
    return True


def deep_png(array: np.ndarray) -> bytes:
    """PNG of uint16, RGB or RGBA or gray."""
    array = array if array.ndim == 2 else array[..., [2, 1, 0, *range(3, array.shape[2])]]
    return cv2.imencode(".png", array)[1].tobytes()


def tiff(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int, bits: int = 8, color: int = 2) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))


def gray_alpha_16() -> bytes:
    """PNG of 16-bit gray and alpha, which neither Pillow nor OpenCV writes."""
    rows = np.zeros((HEIGHT, WIDTH, 2), ">u2")
    rows[..., 0] = np.linspace(0, 65535, WIDTH)
    rows[..., 1] = np.linspace(0, 65535, HEIGHT)[:, None]
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    return png_header(WIDTH, HEIGHT, 16, 4) + png_chunk(b"IDAT", zlib.compress(data)) + png_chunk(b"IEND", b"")


def palette_alpha(image: Image.Image) -> bytes:
    return encoded(image.quantize(16), "PNG", transparency=3)


def rgba() -> Image.Image:
    """Colors that show in a disk only, garish where nothing shows."""
    color = photograph(HEIGHT, WIDTH)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    alpha = (np.hypot(y - HEIGHT / 2, x - WIDTH / 2) < HEIGHT / 3).astype(np.uint8) * 255
    color[alpha == 0] = (255, 0, 255)
    return Image.fromarray(np.dstack([color, alpha]))


def text_info() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "a title")
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return info


def good() -> Iterator[Awkward]:
    """Files that must be restored."""
    color = Image.fromarray(photograph(HEIGHT, WIDTH))
    gray = color.convert("L")
    everything = ("exif", "xmp", "icc", "dpi")
    full: dict[str, Any] = {"exif": exif(), "icc_profile": SRGB}
    yield Awkward("plain.png", encoded(color, "PNG"))
    yield Awkward("everything.png", encoded(color, "PNG", pnginfo=text_info(), dpi=DPI, **full), kept=everything)
    yield Awkward("everything.jpg", encoded(color, "JPEG", xmp=XMP, dpi=DPI, **full), kept=everything)
    yield Awkward("everything.webp", encoded(color, "WEBP", xmp=XMP, **full), kept=everything[:3])
    yield Awkward("everything.tif", tiff_with_everything(color), kept=everything)
    for orientation in range(2, 9):
        size = (WIDTH, HEIGHT) if orientation >= 5 else (HEIGHT, WIDTH)
        content = encoded(color, "JPEG", exif=exif(orientation))
        yield Awkward(f"orientation{orientation}.jpg", content, size=size, kept=("exif",))
    turned = {"exif": exif(6)}
    yield Awkward("turned.png", encoded(color, "PNG", **turned), size=(WIDTH, HEIGHT), kept=("exif",))
    yield Awkward("turned.webp", encoded(color, "WEBP", lossless=True, **turned), size=(WIDTH, HEIGHT), kept=("exif",))
    content = tiff(np.asarray(color), photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    yield Awkward("turned.tif", content, size=(WIDTH, HEIGHT))
    deep = np.asarray(color).astype(np.uint16) * 257
    content = tiff(deep, photometric="rgb", extratags=[(274, 3, 1, 8, True), (34675, 7, len(SRGB), SRGB, True)])
    yield Awkward("turned16.tif", content, size=(WIDTH, HEIGHT), kept=("icc", "deep"))
    content = deep_png(deep)
    content = content[:33] + png_chunk(b"eXIf", exif(6)[6:]) + content[33:]
    yield Awkward("turned16.png", content, size=(WIDTH, HEIGHT), kept=("exif", "deep"))
    yield Awkward("gray.png", encoded(gray, "PNG"), kept=("gray",))
    yield Awkward("gray.jpg", encoded(gray, "JPEG"), kept=("gray",))
    yield Awkward("gray.tif", encoded(gray, "TIFF", compression="tiff_lzw"), kept=("gray",))
    yield Awkward("bilevel.png", encoded(gray.convert("1"), "PNG"), kept=("gray",))
    yield Awkward("bilevel.tif", encoded(gray.convert("1"), "TIFF", compression="group4"), kept=("gray",))
    yield Awkward("gray_alpha.png", encoded(Image.merge("LA", (gray, rgba().getchannel("A"))), "PNG"), kept=("alpha",))
    yield Awkward("palette.png", encoded(color.quantize(16), "PNG"))
    yield Awkward("palette_alpha.png", palette_alpha(color), kept=("alpha",))
    yield Awkward("transparent_color.png", encoded(color, "PNG", transparency=color.getpixel((3, 4))), kept=("alpha",))
    yield Awkward("rgba.png", encoded(rgba(), "PNG"), kept=("alpha",))
    yield Awkward("rgba.webp", encoded(rgba(), "WEBP"), kept=("alpha",))
    yield Awkward("rgba.tif", encoded(rgba(), "TIFF"), kept=("alpha",))
    yield Awkward("invisible.png", encoded(Image.new("RGBA", (WIDTH, HEIGHT)), "PNG"), kept=("alpha",))
    yield Awkward("deep.png", deep_png(deep), kept=("deep",))
    yield Awkward("deep_gray.png", deep_png(deep[..., 0]), kept=("deep", "gray"))
    transparent = np.dstack([deep, deep[..., 0]])
    yield Awkward("deep_alpha.png", deep_png(transparent), kept=("deep", "alpha"))
    yield Awkward("deep_gray_alpha.png", gray_alpha_16(), kept=("deep", "alpha"))
    yield Awkward("deep.tif", tiff(deep, photometric="rgb", compression="zlib"), kept=("deep",))
    yield Awkward("deep_lzw.tif", cv2.imencode(".tif", deep)[1].tobytes(), kept=("deep",))
    yield Awkward("deep_big_endian.tif", tiff(deep, photometric="rgb", byteorder=">"), kept=("deep",))
    planes = np.ascontiguousarray(deep.transpose(2, 0, 1))
    yield Awkward("deep_planes.tif", tiff(planes, photometric="rgb", planarconfig="separate"), kept=("deep",))
    yield Awkward("deep_alpha.tif", tiff(transparent, photometric="rgb", extrasamples=["unassalpha"]), kept=("deep",))
    content = tiff(transparent, photometric="rgb", extrasamples=["assocalpha"])
    yield Awkward("deep_premultiplied.tif", content, kept=("deep", "alpha"))
    yield Awkward("deep_tiles.tif", tiff(deep, photometric="rgb", tile=(16, 16)), kept=("deep",))
    yield Awkward("float.tif", tiff(np.float32(deep) / 65535, photometric="rgb"), kept=("deep",))
    yield Awkward("float16.tif", tiff(np.float16(deep / 65535.0), photometric="rgb"), kept=("deep",))
    yield Awkward("float_gray.tif", tiff(np.float32(deep[..., 0]) / 65535), kept=("deep", "gray"))
    yield Awkward("big.tif", tiff(deep, photometric="rgb", bigtiff=True), kept=("deep",))
    yield Awkward("cmyk.jpg", encoded(color.convert("CMYK"), "JPEG"))
    yield Awkward("cmyk.tif", encoded(color.convert("CMYK"), "TIFF"))
    yield Awkward("lab.tif", encoded(lab(color), "TIFF"))
    ycbcr = encoded(color.convert("YCbCr"), "TIFF")
    if pillow_reads(ycbcr):  # Pillow 12 does not read what it writes here
        yield Awkward("ycbcr.tif", ycbcr)
    yield Awkward("plain.bmp", encoded(color, "BMP"))
    yield Awkward("palette.bmp", encoded(color.quantize(16), "BMP"))
    yield Awkward("still.gif", encoded(color, "GIF"))
    yield Awkward("plain.ppm", encoded(color, "PPM"))
    yield Awkward("progressive.jpg", encoded(color, "JPEG", progressive=True, subsampling=2))
    yield Awkward("interlaced.png", interlaced())
    yield Awkward("lossless.webp", encoded(color, "WEBP", lossless=True))
    yield Awkward("jpeg_inside.png", encoded(color, "JPEG"))
    yield Awkward("png_inside.jpg", encoded(color, "PNG"))
    yield Awkward("UPPER.JPG", encoded(color, "JPEG"))
    yield Awkward("one.png", encoded(color.crop((0, 0, 1, 1)), "PNG"), size=(1, 1))
    yield Awkward("one.tif", encoded(color.crop((0, 0, 1, 1)), "TIFF"), size=(1, 1))
    yield Awkward("flat.png", encoded(color.resize((5000, 1)), "PNG"), size=(1, 5000))
    yield Awkward("tall.jpg", encoded(color.resize((1, 5000)), "JPEG"), size=(5000, 1))
    yield Awkward("damaged_exif.jpg", encoded(color, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\0\0"))
    yield Awkward("trailing.jpg", encoded(color, "JPEG") + b"trailing bytes" * 9)
    pictures = {"save_all": True, "append_images": [color]}
    yield Awkward("several.jpg", encoded(color, "MPO", **pictures))
    yield Awkward("späte «Straße».png", encoded(color, "PNG"))
    yield Awkward("line\nbreak %s {x}.png", encoded(color, "PNG"))
    yield Awkward("-dash.png", encoded(color, "PNG"))


def bad() -> Iterator[Awkward]:
    """Files that must be refused, each in one line."""
    color = Image.fromarray(photograph(HEIGHT, WIDTH))
    large = Image.fromarray(photograph(200, 200, seed=3))
    pictures = {"save_all": True, "append_images": [color.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]}
    cut: dict[str, Callable[[], bytes]] = {
        "png": lambda: encoded(large, "PNG"),
        "jpg": lambda: encoded(large, "JPEG"),
        "webp": lambda: encoded(large, "WEBP"),
        "tif": lambda: encoded(large, "TIFF"),
        "bmp": lambda: encoded(large, "BMP"),
    }
    for suffix, make in cut.items():
        content = make()
        yield Awkward(f"cut.{suffix}", content[: len(content) // 2], "cut short")
        yield Awkward(f"header_only.{suffix}", content[:10], "")
    content = deep_png(np.asarray(large).astype(np.uint16) * 257)
    yield Awkward("cut16.png", content[: len(content) // 2], "cut short")
    content = tiff(np.asarray(large).astype(np.uint16) * 257, photometric="rgb")
    yield Awkward("cut16.tif", content[: len(content) // 2], "cut short")
    content = bytearray(encoded(large, "PNG"))
    content[len(content) // 2] ^= 255
    yield Awkward("flipped_bit.png", bytes(content), "damaged")
    yield Awkward("empty.png", b"", "is empty")
    yield Awkward("empty.jpg", b"", "is empty")
    yield Awkward("text.jpg", b"no picture at all, but long enough to be read\n" * 9, "no picture")
    yield Awkward("page.png", b"<!DOCTYPE html><html>not found</html>", "no picture")
    yield Awkward("zeros.png", bytes(4096), "no picture")
    yield Awkward("huge.png", png_header(2**31 - 1, 2**31 - 1) + png_chunk(b"IEND", b""), "claims")
    yield Awkward("huge_bits.png", png_header(300_000, 300_000, 1, 0) + png_chunk(b"IEND", b""), "claims")
    content = encoded(color, "BMP")
    content = content[:18] + struct.pack("<ii", 500_000, 500_000) + content[26:]
    yield Awkward("huge.bmp", content, "claims")
    content = encoded(color, "JPEG")
    place = content.index(b"\xff\xc0") + 5
    yield Awkward("huge.jpg", content[:place] + b"\xff\xdc\xff\xdc" + content[place + 4 :], "claims")
    yield Awkward("animated.gif", encoded(color, "GIF", **pictures), "animated")
    yield Awkward("animated.webp", encoded(color, "WEBP", **pictures), "animated")
    yield Awkward("animated.png", encoded(color, "PNG", **pictures), "animated")
    yield Awkward("pages.tif", encoded(color, "TIFF", **pictures), "holds 2 pictures")
    stack = np.zeros((3, HEIGHT, WIDTH), np.uint16)
    yield Awkward("stack16.tif", tiff(stack, photometric="minisblack"), "holds 3 pictures")
    yield Awkward("circle.tif", circular_tiff(), "holds 2 pictures")
    yield Awkward("hdr.tif", tiff(np.full((HEIGHT, WIDTH, 3), 40, np.float32), photometric="rgb"), "scale them")
    yield Awkward("nan.tif", tiff(np.full((HEIGHT, WIDTH, 3), np.nan, np.float32), photometric="rgb"), "not finite")
    yield Awkward("integers32.tif", tiff(np.zeros((HEIGHT, WIDTH), np.uint32)), "32-bit")
    yield Awkward("signed16.tif", tiff(np.zeros((HEIGHT, WIDTH), np.int16)), "16-bit int16")
    yield Awkward("five_channels.tif", tiff(np.zeros((HEIGHT, WIDTH, 5), np.uint16), photometric="rgb"), "5 channels")
    yield Awkward("photo.heic", b"\0\0\0\x18ftypheic" + bytes(64), "HEIC")
    yield Awkward("photo.jxl", b"\xff\x0a" + bytes(64), "JPEG XL")
    yield Awkward("photo.jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(64), "JPEG 2000")


def circular_tiff() -> bytes:
    """Two pages, the second of which names the first as the next."""
    content = bytearray(tiff(np.zeros((2, HEIGHT, WIDTH), np.uint16), photometric="minisblack", metadata=None))
    first = second = struct.unpack_from("<I", content, 4)[0]
    for _ in range(2):
        end = second + 2 + 12 * struct.unpack_from("<H", content, second)[0]
        following = struct.unpack_from("<I", content, end)[0]
        second = following or second
    struct.pack_into("<I", content, end, first)
    return bytes(content)


def lab(image: Image.Image) -> Image.Image:
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    return ImageCms.applyTransform(image, transform)


def interlaced() -> bytes:
    """PNG of two rows and columns, interlaced by Adam7: passes of one pixel, one pixel and one row."""
    header = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 1))
    picture = photograph(HEIGHT, WIDTH)[..., 0]
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = [row for y, x, dy, dx in passes for row in picture[y::dy, x::dx] if row.size]
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    return header + png_chunk(b"IDAT", zlib.compress(data)) + png_chunk(b"IEND", b"")


def tiff_with_everything(image: Image.Image) -> bytes:
    tags = Image.Exif()
    tags.load(exif())
    tags[700] = XMP
    return encoded(image, "TIFF", exif=tags, icc_profile=SRGB, dpi=DPI)
