"""Tables as data: cells, tables and sections, whatever format shows them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

MISSING = "-"
"""Text of a cell without a value."""


class Value(NamedTuple):
    """A value in a cell; the best are marked: bold, or with `*` in the terminal."""

    text: str
    marked: bool = False


Cell = str | tuple[Value, ...]
"""Text, or values separated by slashes."""


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: Caption, one line.
        headers: Column headers.
        rows: Rows of as many cells as there are headers.
        notes: Sentences below the table.
        keys: Number of columns on the left that name the row; the others are right-aligned.
        folded: Whether it holds details, which the terminal leaves out and the page shows on request.
    """

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    keys: int = 1
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """Tables that belong together; `anchor` is the target of links."""

    anchor: str
    title: str
    tables: Sequence[Table]
