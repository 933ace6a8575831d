"""Names by which files are taken for pictures: one list for data sets, preparation and restoration."""

from collections.abc import Iterable, Sequence
from pathlib import PurePath

from ramit_model.system.text import printable

READ_EVERYWHERE = frozenset(
    (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm")
)
"""Suffixes of the formats that everything here reads."""

IMAGE_SUFFIXES = READ_EVERYWHERE | frozenset(
    (".dib", ".pbm", ".gif", ".apng", ".avif", ".heic", ".heif", ".jxl", ".jp2", ".j2k")
)
"""Suffixes of pictures. A file that has one and cannot be read is an error; any other file is left out."""

NAMED = 3
"""Files that a remark names."""


def is_image(name: str | PurePath) -> bool:
    """Whether a file is taken for a picture, by its suffix in any case.

    >>> is_image("a.PNG"), is_image("Thumbs.db"), is_image("png")
    (True, False, False)
    """
    return PurePath(name).suffix.lower() in IMAGE_SUFFIXES


def some_of(names: Sequence[str], count: int | None = None) -> str:
    """Name the first few of several files.

    >>> some_of(["a", "b"]), some_of(["a", "b", "c", "d", "e"])
    ('a, b', 'a, b, c and 2 more')
    """
    more = (len(names) if count is None else count) - NAMED
    return ", ".join(map(printable, names[:NAMED])) + (f" and {more} more" if more > 0 else "")


def left_out(names: Iterable[str]) -> list[str]:
    """Remark about files that are not taken for pictures; nothing without any.

    >>> left_out(["README.txt"]), left_out([])
    (['1 file left out, being no picture: README.txt'], [])
    """
    names = sorted(names)
    if not names:
        return []
    what = "1 file left out, being no picture" if len(names) == 1 else f"{len(names)} files left out, being no pictures"
    return [f"{what}: {some_of(names)}"]
