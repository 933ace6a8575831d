"""Images of a data set: chosen by suffix from a folder, by a list, or from an LMDB; names of their results."""

import logging
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ramit_model.system.errors import InputError
from ramit_model.system.image_names import is_image, left_out
from ramit_model.system.paths import expand
from ramit_model.system.text import decoded, printable

SIZE = re.compile(r"\s+\(\s*\d+\s*,\s*\d+\s*(,\s*\d+\s*)?\)(\s+\d+)?\s*$")
"""Height, width and channels behind a name in BasicSR's lists, in those of LMDBs the compression level, too."""

ENTRY = re.compile(r"([^.]+)\.\S* \((\d+),(\d+),\d+\)")
"""Line `key.png (h,w,c) level` of an LMDB's `meta_info.txt`."""


def list_images(opt: dict[str, Any], kind: str) -> tuple[list[str], list[str]]:
    """List the images of one kind, in an order that is the same on every machine.

    Args:
        opt: Option block of a data set.
        kind: Kind of images: lq, gt.

    Returns:
        Paths below the folder, POSIX, or keys of an LMDB; and remarks about what was left out.

    Raises:
        InputError: There is no image, or the list names one that is not there.
        OSError: A file or folder cannot be read.
    """
    root, chosen = Path(expand(opt[f"dataroot_{kind}"])), opt.get("meta_info_file")
    remarks: list[str] = []
    if opt["io_backend"]["type"] == "lmdb":
        names = lmdb_keys(root)
        if chosen:
            names = _chosen_keys(names, Path(expand(chosen)), root)
    elif chosen:
        names = [_find(root, line, number, chosen) for number, line in read_list(Path(expand(chosen)))]
    else:
        names, remarks = _folder(root)
    if not names:
        raise InputError(f"no image in {printable(chosen or root)}{''.join(f'; {remark}' for remark in remarks)}")
    return names, remarks


def read_list(path: Path) -> list[tuple[int, str]]:
    """Read the lines of a list of images, with their numbers: a name, and its size behind it if it is there.

    Empty lines, byte order marks and line ends of any system do not matter; names may have spaces.
    """
    lines = decoded(path.read_bytes()).splitlines()
    named = ((number, SIZE.sub("", line).strip()) for number, line in enumerate(lines, 1))
    return [(number, name) for number, name in named if name]


def lmdb_keys(root: Path) -> list[str]:
    """List the keys of an LMDB, sorted; as BasicSR writes them, they end at the first dot."""
    lines = decoded((root / "meta_info.txt").read_bytes()).splitlines()
    keys = sorted(line.split(".")[0] for line in lines if line.strip())
    if "" in keys:
        raise InputError(
            f"{root / 'meta_info.txt'}: a line begins with a dot and names no entry; prepare the LMDB again"
        )
    return keys


def lmdb_sizes(root: Path) -> dict[str, tuple[int, int]]:
    """Map keys of an LMDB to height and width, as far as its list has them."""
    matches = map(ENTRY.match, decoded((root / "meta_info.txt").read_bytes()).splitlines())
    return {match[1]: (int(match[2]), int(match[3])) for match in matches if match}


def _chosen_keys(keys: Sequence[str], chosen: Path, root: Path) -> list[str]:
    known, names = set(keys), []
    for number, name in read_list(chosen):
        key = PurePosixPath(name).name.split(".")[0]
        if key not in known:
            raise InputError(f"{chosen}:{number}: {printable(root)} has no entry {printable(key)}; correct the list")
        names.append(key)
    return names


def _find(root: Path, name: str, number: int, chosen: str) -> str:
    """Name of the file that a line of a list means."""
    # BasicSR takes what is before the first space, and Windows writes backslashes.
    candidates = [name, name.split(" ", maxsplit=1)[0], name.replace("\\", "/")]
    for candidate in candidates:
        if os.path.isfile(root / candidate):  # noqa: PTH113  a Path raises at null characters before Python 3.12
            return candidate
    raise InputError(f"{printable(chosen)}:{number}: {printable(root / name)}: no such file; correct the list")


def _folder(root: Path) -> tuple[list[str], list[str]]:
    """Names of the pictures in a folder, hidden ones apart, and remarks about everything else."""
    names, others, folders = [], [], 0
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders += 1
            # A broken link is an error of its own; opening a pipe would wait for ever.
            elif is_image(entry.name) and (entry.is_file() or entry.is_symlink()):
                names.append(entry.name)
            else:
                others.append(entry.name)
    remarks = left_out(others)
    if folders:
        remarks.append(f"{folders} sub-folder{'s' * (folders > 1)} left out")
    return sorted(names), remarks


def result_names(names: Iterable[str], where: str) -> list[str]:
    """Names of the results of images: without suffix, sub-folders joined by underscores.

    Args:
        names: Paths below the folder of the data set, or keys.
        where: Name of the data set, for messages.

    Raises:
        InputError: Two images would have one result.
    """
    found: dict[str, str] = {}
    for name in names:
        path = PurePosixPath(name)
        result = "_".join(part for part in path.with_suffix("").parts if part not in ("/", "..", "."))
        if result in found:
            both = f"{printable(found[result])} and {printable(name)}"
            raise InputError(f"{where}: {both}: would have one result, {printable(result)}; rename or remove one")
        found[result] = name
    return list(found)


def say(remarks: Iterable[str], where: str, details: Iterable[str] = ()) -> list[str]:
    """Log remarks about a data set: on the terminal of a run, and in its log; the details in its log alone.

    Returns:
        The remarks as lines, for those who have no log.
    """
    logger = logging.getLogger("basicsr")
    lines = [f"{where}: {remark}" for remark in remarks]
    for line in lines:
        logger.info(line)
    for detail in details:
        logger.info(f"{where}: {detail}", extra={"file_only": True})
    return lines
