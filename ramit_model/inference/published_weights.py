"""Published weights: where each file is, and which network and task it belongs to.

The facts are in `published_weights.json`. A file is recognized by its git blob id, which its authors' repository states
for all of them.
"""

import functools
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from ramit_model.system.errors import InputError


@dataclass(frozen=True)
class PublishedWeights:
    """One file of weights that the authors of a network released."""

    name: str
    """Name of the file, such as RAMiT-1_X2.pth."""
    network: str
    """Variant of RAMiT, or NGswin."""
    task: str
    """SR, CDN, GDN, LLE or DR."""
    scale: int
    """Output size over input size, 1 where the task keeps it."""
    git_blob: str
    """Git blob id of the file, 40 hexadecimal digits."""
    url: str
    """Address of the file, at a fixed commit."""


@functools.cache
def published_weights() -> tuple[PublishedWeights, ...]:
    """Read all published files, in the order of the table."""
    text = Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
    return tuple(PublishedWeights(**entry) for entry in json.loads(text))


def by_name(name: str) -> PublishedWeights:
    """Look a file up by its name.

    Raises:
        InputError: No published file has this name; the line lists those that there are.
    """
    for weights in published_weights():
        if weights.name == name:
            return weights
    names = ", ".join(weights.name for weights in published_weights())
    raise InputError(f"{name}: no published weights have this name; there are {names}")


def recognize(path: str | os.PathLike[str]) -> PublishedWeights | None:
    """Find out which published file this is, by its content; None if it is none of them.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    blob = git_blob(content)
    return next((weights for weights in published_weights() if weights.git_blob == blob), None)


def git_blob(content: bytes) -> str:
    r"""Compute the id that git gives a file: SHA-1 of `blob SIZE\0` and the content.

    >>> git_blob(b"")
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
