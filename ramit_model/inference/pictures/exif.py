"""EXIF and XMP kept as they are, except for what is no longer true of the restored picture."""

import re
import struct
from collections.abc import Iterator
from typing import Any

from PIL import Image

ORIENTATION = 0x0112
WIDTHS, HEIGHTS = (0x0100, 0xA002), (0x0101, 0xA003)
EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
HEADER = b"Exif\0\0"
SHORT, LONG = 3, 4

# Tags of a TIFF file that describe the picture rather than how the file is built.
DESCRIPTIVE = (
    *(0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749, 0x8298),
    *(0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F),  # title, comment, author, keywords, subject as Windows writes them
)

_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[1-8](?=\s*[\"'<])")


def upright(exif: bytes, height: int, width: int) -> bytes | None:
    """EXIF of a picture that was turned the right way up and resized.

    Orientation and size are rewritten in place, so that everything else, maker notes with their offsets too, stays as
    it was. The thumbnail, which shows the picture as it was, is no longer referred to.

    Args:
        exif: TIFF structure.
        height: New height, pixels.
        width: New width, pixels.

    Returns:
        None if the structure is damaged.
    """
    changed = bytearray(exif)
    try:
        order = {b"II": "<", b"MM": ">"}[bytes(exif[:2])]
        first = struct.unpack_from(f"{order}I", exif, 4)[0]
        later = None
        for place, tag, value in _entries(exif, first, order):
            _rewrite(changed, order, place, tag, height, width)
            later = value if tag == EXIF_IFD else later
        if later:
            for place, tag, _ in _entries(exif, later, order):
                _rewrite(changed, order, place, tag, height, width)
        count = struct.unpack_from(f"{order}H", exif, first)[0]
        end = first + 2 + 12 * count
        if end + 4 <= len(changed):
            changed[end : end + 4] = bytes(4)
    except (struct.error, KeyError):
        return None
    return bytes(changed)


def _entries(exif: bytes, start: int, order: str) -> Iterator[tuple[int, int, int]]:
    """Place, tag and inline value (or offset) of each entry of a directory."""
    for i in range(struct.unpack_from(f"{order}H", exif, start)[0]):
        place = start + 2 + 12 * i
        tag, value = struct.unpack_from(f"{order}H6xI", exif, place)
        yield place, tag, value


def _rewrite(exif: bytearray, order: str, place: int, tag: int, height: int, width: int) -> None:
    if tag == ORIENTATION:
        struct.pack_into(f"{order}HIHH", exif, place + 2, SHORT, 1, 1, 0)
    elif tag in WIDTHS + HEIGHTS:
        struct.pack_into(f"{order}HII", exif, place + 2, LONG, 1, width if tag in WIDTHS else height)


def upright_xmp(xmp: bytes) -> bytes:
    """XMP whose orientation, if it states one, is that of an upright picture."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def described(exif: Image.Exif) -> bytes | None:
    """TIFF structure of those tags of a TIFF file's directory that describe the picture; None if there are none."""
    tags = descriptive_tags(exif)
    if not tags:
        return None
    kept = Image.Exif()
    for tag, value in tags.items():
        kept[tag] = value
    return kept.tobytes().removeprefix(HEADER)


def descriptive_tags(exif: Image.Exif) -> dict[int, Any]:
    """Tags that describe the picture, by number; a directory inside is a dict of its own."""
    tags: dict[int, Any] = {tag: _any_text(exif[tag]) for tag in DESCRIPTIVE if tag in exif}
    for tag in (EXIF_IFD, GPS_IFD):
        directory = {key: _any_text(value) for key, value in exif.get_ifd(tag).items()}
        if INTEROP_IFD in directory:
            directory[INTEROP_IFD] = dict(exif.get_ifd(INTEROP_IFD))
        if directory:
            tags[tag] = directory
    return tags


def _any_text(value: Any) -> Any:
    """Bytes of a text that is not ASCII, of which Pillow would write question marks; anything else as it is."""
    return value.encode("latin-1", "replace") if isinstance(value, str) and not value.isascii() else value
