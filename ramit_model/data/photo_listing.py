"""Photos in a folder and its sub-folders, and which of them are held out for validation."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from datasets_prep.pairing import pair
from ramit_model.data.listing import list_images
from ramit_model.data.patches import SUB_IMAGE
from ramit_model.system.errors import InputError
from ramit_model.system.image_names import is_image, left_out
from ramit_model.system.paths import expand
from ramit_model.system.text import printable

TENTH = "tenth"
"""Value of `held_out`: a tenth of the photos, one at least and `MAX_HELD_OUT` at most."""

MAX_HELD_OUT = 20
"""A validation of more would take longer and say little more."""


class Photo(NamedTuple):
    """Names of a photo and, in a set of pairs, of its LQ image: paths below their folders, POSIX."""

    gt: str
    lq: str | None = None


def list_photos(opt: dict[str, Any]) -> tuple[list[Photo], list[str]]:
    """List the photos of a data set, in an order that is the same on every machine.

    Args:
        opt: Option block with `dataroot_gt`; with `dataroot_lq`, GT and LQ are paired by their names (`key`,
            `filename_tmpl`).

    Returns:
        The photos, and remarks about what was left out and how they were paired.

    Raises:
        InputError: There is no photo, or GT and LQ do not pair up.
        OSError: A folder cannot be read.
    """
    if opt.get("meta_info_file"):
        names, remarks = list_images({**opt, "io_backend": {"type": "disk"}}, "gt")
        return [Photo(name) for name in names], remarks
    names, remarks = _tree(Path(expand(opt["dataroot_gt"])))
    if not opt.get("dataroot_lq"):
        return [Photo(name) for name in names], remarks
    roots = [Path(expand(opt[key])) for key in ("dataroot_gt", "dataroot_lq")]
    if roots[0].samefile(roots[1]):
        raise InputError(f"{printable(roots[0])}: is dataroot_gt and dataroot_lq; an image has one role only")
    lq, lq_remarks = _tree(roots[1])
    remarks = [f"GT: {remark}" for remark in remarks] + [f"LQ: {remark}" for remark in lq_remarks]
    try:
        found = pair(names, lq, key=opt.get("key"), template=opt.get("filename_tmpl", "{}"))
    except InputError as error:
        both = " and ".join(map(printable, roots))
        raise InputError(f"LQ and GT do not pair up: {both}: {error.line}") from None
    if found.how != "paired by equal names":
        remarks.append(f"{len(found.pairs)} pairs, {found.how}")
    return [Photo(gt, lq) for gt, lq in found.pairs], remarks


def _tree(root: Path) -> tuple[list[str], list[str]]:
    """Names of the pictures in a folder and its sub-folders, hidden ones apart, and remarks about everything else."""
    names: list[str] = []
    others: list[str] = []
    links = 0
    for folder, folders, files in os.walk(root, onerror=_refuse):
        below = Path(folder).relative_to(root)
        # A link may lead back here.
        links += sum(os.path.islink(os.path.join(folder, name)) for name in folders)  # noqa: PTH114, PTH118
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.startswith("."):
                continue
            path = Path(folder, name)
            # A broken link is an error of its own; opening a pipe would wait for ever.
            good = is_image(name) and (path.is_file() or path.is_symlink())
            (names if good else others).append((below / name).as_posix())
    remarks = left_out(others)
    if links:
        remarks.append(f"{links} linked folder{'s' * (links > 1)} left out")
    if not names:
        raise InputError(f"no photo in {printable(root)}{''.join(f'; {remark}' for remark in remarks)}")
    return sorted(names), remarks


def _refuse(error: OSError) -> None:
    raise error


def held_out(names: Iterable[str], count: int | str) -> set[str]:
    """Choose the photos that a training leaves to its validation.

    Which they are depends on the names of the files alone, without folder and suffix. So they are the same wherever the
    folder lies, photos that are added change them as little as possible, and copies of a photo in two folders or two
    formats are on the same side.

    Args:
        names: Names of GT images, each once.
        count: How many photos to hold out, or TENTH.

    Returns:
        Their names; a few more where photos have equal names.

    Raises:
        InputError: None would be left to train on.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_group(name), []).append(name)
    total = sum(map(len, groups.values()))
    wanted = min(max(1, total // 10), MAX_HELD_OUT) if count == TENTH else int(count)
    chosen: set[str] = set()
    order = sorted(groups, key=lambda group: hashlib.sha256(os.fsencode(group)).digest())
    for group in order[:-1]:
        if len(chosen) < wanted:
            chosen.update(groups[group])
    if len(chosen) < wanted:
        photos = f"{total} photo{'s' * (total > 1)}"
        raise InputError(
            f"held_out: {wanted} of {photos} for validation would leave none to train on; add photos, or train without "
            "validation (held_out: 0, --force_yml datasets:val=none)"
        )
    return chosen


def _group(name: str) -> str:
    """Name of what must not be on both sides."""
    stem = PurePosixPath(name).stem.casefold()
    match = SUB_IMAGE.fullmatch(stem)
    return match["image"] if match else stem
