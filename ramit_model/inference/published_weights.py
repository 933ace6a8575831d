"""Published weights: where each file is, and which network and task it belongs to.

The facts are in `published_weights.json`. A file is recognized by its git blob id, which its authors' repository states
for all of them, or by a digest of its tensors, known for some.
"""

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ramit_model.system.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 1 << 20
"""Bytes that are read at a time."""
MAX_BYTES = 1 << 26
"""Larger than every published file."""


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
    tensors: str | None = None
    """`digest` of its weights, where the file was at hand when the table was written."""


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


def named(name: str) -> PublishedWeights | None:
    """Published file of a name, with or without .pth, in any case; None if none has it."""
    names = {Path(weights.name).stem.lower(): weights for weights in published_weights()}
    return names.get(name.lower().removesuffix(".pth"))


def recognize(path: str | os.PathLike[str]) -> PublishedWeights | None:
    """Find out which published file this is, by its content; None if it is none of them.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            blob = git_blob(iter(lambda: file.read(CHUNK), b""), size) if size <= MAX_BYTES else None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    return next((weights for weights in published_weights() if weights.git_blob == blob), None)


def recognize_tensors(weights: Mapping[str, "Tensor"]) -> PublishedWeights | None:
    """Find out which published file holds these weights, also if they were saved again or in half precision.

    Knows only files whose digest the table has.
    """
    known = {entry.tensors: entry for entry in published_weights() if entry.tensors}
    return known.get(digest(weights))


def git_blob(content: bytes | Iterable[bytes], size: int = 0) -> str:
    r"""Compute the id that git gives a file: SHA-1 of `blob SIZE\0` and the content.

    Args:
        content: The whole content, or its parts one after another.
        size: Its length, which must be known beforehand if it comes in parts.

    >>> git_blob(b"")
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    parts = [content] if isinstance(content, bytes) else content
    length = len(content) if isinstance(content, bytes) else size
    sha1 = hashlib.sha1(b"blob %d\0" % length, usedforsecurity=False)
    for part in parts:
        sha1.update(part)
    return sha1.hexdigest()


def digest(weights: Mapping[str, "Tensor"]) -> str:
    """Compute a digest of weights that is the same in every container, order of names and precision from float16 up.

    Returns:
        SHA-256 of the names, shapes and values, rounded to float16, of all weights that are not whole numbers.
    """
    import torch

    sha256 = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        if tensor.is_floating_point():
            sha256.update(f"{name} {tuple(tensor.shape)}\n".encode())
            sha256.update(tensor.detach().cpu().to(torch.float16).numpy().tobytes())
    return sha256.hexdigest()
