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
    """Remarks about files that are not read: no pictures, and pictures of kinds that only some commands read.

    >>> left_out(["README.txt"]), left_out([])
    (['1 file left out, being no picture: README.txt'], [])
    >>> left_out(["a.jp2", "b.gif"])
    ['2 pictures left out, of a kind that is not read here (save them as PNG): a.jp2, b.gif']
    """
    names = sorted(names)
    remarks = []
    if others := [name for name in names if not is_image(name)]:
        count = (
            "1 file left out, being no picture"
            if len(others) == 1
            else f"{len(others)} files left out, being no pictures"
        )
        remarks.append(f"{count}: {some_of(others)}")
    if pictures := [name for name in names if is_image(name)]:
        one = len(pictures) == 1
        what = f"{len(pictures)} picture{'s' * (not one)} left out, of a kind that is not read here"
        remarks.append(f"{what} (save {'it' if one else 'them'} as PNG): {some_of(pictures)}")
    return remarks
