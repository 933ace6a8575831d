"""Formats that are written, by suffix. Standard library only, so that inputs are checked before anything is loaded."""

from pathlib import PurePath
from typing import Literal, get_args

Format = Literal["png", "jpg", "webp", "tiff"]
FORMATS: tuple[Format, ...] = get_args(Format)

SUFFIXES: dict[str, Format] = {
    ".png": "png",
    ".jpg": "jpg",
    ".jpeg": "jpg",
    ".jpe": "jpg",
    ".jfif": "jpg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
}


def format_of(name: str | PurePath) -> Format:
    """Format in which a picture of this name is written; PNG where its own is not one of them."""
    return SUFFIXES.get(PurePath(name).suffix.lower(), "png")
