"""Values as people read them."""

import codecs
import os


def decoded(content: bytes) -> str:
    r"""Text of a file in UTF-8, or in UTF-16 with a byte order mark; other bytes as in the names of files.

    >>> decoded(b"\xef\xbb\xbfa"), decoded("a".encode("utf-16")), os.fsencode(decoded(b"\xff"))
    ('a', 'a', b'\xff')
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def escaped(text: str | os.PathLike[str]) -> str:
    r"""Text or path as valid Unicode: the bytes of file names that are no text become `\xff`.

    >>> print(escaped("name \udcff.png"))
    name \xff.png
    """
    return os.fspath(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def printable(text: str | os.PathLike[str]) -> str:
    r"""Text or path for one line of a terminal: undecodable bytes and control characters are escaped.

    >>> print(printable("two\nlines, \udcff"))
    two\nlines, \xff
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped(text))


def readable_time(seconds: float) -> str:
    """Duration in words that fit its length.

    >>> readable_time(38.4), readable_time(151), readable_time(7384), readable_time(200000)
    ('38 s', '2 min 31 s', '2 h 03 min', '2 d 7 h')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
