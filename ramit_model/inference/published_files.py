"""Finding the weights that a user names: a file, or a published one in ./weights, in the cache, or downloaded."""

import difflib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from ramit_model.inference.published_weights import (
    MAX_BYTES,
    PublishedWeights,
    named,
    published_weights,
    recognize,
)
from ramit_model.inference.weight_files import what_it_is
from ramit_model.system.download import DownloadError, download
from ramit_model.system.errors import InputError, one_line

FOLDER = Path("weights")
"""Folder where the option files expect the published files."""
MIRROR = "RAMIT_WEIGHTS_URL"
"""Environment variable with the address of a folder that has the published files, to download them from there."""


def cache_folder() -> Path:
    """Folder for downloaded weights: that of all PyTorch models, ~/.cache/torch/hub/checkpoints or below TORCH_HOME."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def locate(source: str | Path) -> Path:
    """Find the file of weights that a user names; download it if it is a published one that is not here.

    Args:
        source: A file, or the name of a published one, with or without .pth, in any case.

    Raises:
        InputError: There is no such file and no such name, or the download fails.
    """
    path = Path(source).expanduser()
    if os.path.exists(path):  # noqa: PTH110  a Path raises an error where a name is too long
        return path
    entry = named(path.name)
    if len(path.parts) == 1 and entry:
        file = FOLDER / entry.name
        return file if file.is_file() else fetch(entry)
    if entry:
        raise InputError(f"{source}: no such file; check the path, or write {_stem(entry)} to have it downloaded")
    stems = {_stem(entry).lower(): _stem(entry) for entry in published_weights()}
    close = difflib.get_close_matches(path.name.lower().removesuffix(".pth"), stems, 1, cutoff=0.75)
    hint = f"did you mean {stems[close[0]]}?" if close and len(path.parts) == 1 else "check the path"
    raise InputError(f"{source}: no such file; {hint}")


def _stem(entry: PublishedWeights) -> str:
    return Path(entry.name).stem


def address(entry: PublishedWeights) -> str:
    """Address that a published file is downloaded from: its authors' repository, or a mirror."""
    mirror = os.environ.get(MIRROR)
    return f"{mirror.rstrip('/')}/{entry.name}" if mirror else entry.url


def fetch(entry: PublishedWeights) -> Path:
    """Download a published file into the cache, unless it is there; its content is verified.

    Several processes may do so at once: one downloads. An interrupted download goes on later.

    Raises:
        InputError: It cannot be downloaded; the line says from where, and where to put it.
    """
    folder = cache_folder()
    file = folder / entry.name
    if _is(file, entry):
        return file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f".{entry.name}.lock", entry.name):
            if not _is(file, entry):
                _download(entry, file)
    except (DownloadError, OSError) as error:
        raise InputError(
            f"{entry.name}: cannot be downloaded from {address(entry)}: {one_line(error)}; get it another way and put "
            f"it into {FOLDER.absolute()} or {folder}"
        ) from None
    return file


@contextmanager
def _locked(path: Path, name: str) -> Iterator[None]:
    """Let one process at a time go on."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{name}: waiting for another process that downloads it", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _is(file: Path, entry: PublishedWeights) -> bool:
    return file.is_file() and recognize(file) == entry


def _download(entry: PublishedWeights, file: Path) -> None:
    part = file.with_name(f"{file.name}.part")
    url = address(entry)
    print(f"{entry.name}: downloading {url} to {file.parent}", file=sys.stderr, flush=True)
    for _ in range(2):  # what an earlier download left may be the beginning of something else
        if not _is(part, entry):
            with tqdm(desc=entry.name, unit="B", unit_scale=True, leave=False, disable=None) as bar:
                download(url, part, max_bytes=MAX_BYTES, progress=partial(_show, bar))
        if _is(part, entry):
            part.replace(file)
            return
        remark = what_it_is(part)
        part.unlink()
    raise DownloadError(f"what comes from there is not the published file (git blob {entry.git_blob}): it {remark}")


def _show(bar: "tqdm[NoReturn]", done: int, total: int | None) -> None:
    bar.total = total
    bar.update(done - bar.n)
