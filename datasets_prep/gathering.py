"""Finds the images of a family among files: names each image, pairs GT and LQ, reports missing ones."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from datasets_prep.downloads import COMMON_FOLDERS, Collection
from datasets_prep.families import Family
from datasets_prep.sources import Member
from ramit_model.system.errors import InputError

ANYWHERE = "**"
HERE = "*"

MAX_KEY = 200
"""Largest length of a key, characters; LMDB and file systems must accept it with all that is added to it."""

Folders = dict[tuple[Path, PurePosixPath], list[Member]]
"""Source and path of a folder (`Member.path`) -> its files."""


@dataclass(frozen=True)
class Item:
    """Image of a data set with all of its files; the task of one process."""

    key: str
    files: dict[str, Member]
    """Role (gt, lq, x2, ...) -> file; gt always."""


class _NothingFoundError(InputError):
    """Error for a collection without any image."""


def gather(
    family: Family, members: Mapping[str, Sequence[Member]], roles: Sequence[str], *, incomplete: bool = False
) -> tuple[list[Item], bool]:
    """Find the images of a family.

    Args:
        family: Family to look for.
        members: Label -> image files; "" for sources without a label. A label is a role or a collection.
        roles: gt, and other roles that may be present.
        incomplete: Accept fewer images than published, and if there are several collections, some without any.

    Returns:
        Items sorted by key, and whether all published images are there.

    Raises:
        InputError: A line for everything that is missing, ambiguous, double or without partner.
    """
    folders = {label: _by_folder(of_label) for label, of_label in members.items()}
    items: list[Item] = []
    problems: list[str] = []
    complete = True
    several = len(family.collections) > 1
    for collection in family.collections:
        try:
            found = _collect(family, collection, folders, roles)
        except _NothingFoundError as error:
            complete = False
            if not (incomplete and several):
                problems.append(str(error))
            continue
        except InputError as error:
            problems.append(str(error))
            continue
        counts = collection.images
        if counts and len(found) not in counts:
            complete = False
            published = " or ".join(map(str, counts))
            if len(found) > max(counts):
                problems.append(
                    f"{collection.name}: {len(found)} images found, but it has {published}: is it another set?"
                )
            elif not incomplete:
                problems.append(
                    f"{collection.name}: {len(found)} of {published} images found; add the missing ones, or say "
                    "--incomplete"
                )
        prefix = f"{collection.name}_" if several else ""
        items += [Item(prefix + item.key, item.files) for item in found]
    if not items and not problems:
        names = [collection.name for collection in family.collections]
        problems.append(f"{family.name}: no image of {', '.join(names)} in the sources; say --source {names[0]}=PATH")
    if problems:
        raise InputError("\n".join(problems))
    return sorted(items, key=lambda item: item.key), complete


def _by_folder(members: Iterable[Member]) -> Folders:
    folders: Folders = {}
    for member in dict.fromkeys(members):  # a source may be given twice
        folders.setdefault((member.source, member.path.parent), []).append(member)
    return folders


def _collect(
    family: Family, collection: Collection, folders: Mapping[str, Folders], roles: Sequence[str]
) -> list[Item]:
    files: dict[str, dict[str, Member]] = {}
    problems: list[str] = []
    missing: list[str] = []
    for role in roles:
        candidates, patterns = _candidates(family, collection, folders, role)
        candidates = {f: of_f for f, of_f in candidates.items() if not _is_below(f[1], collection.apart_from)}
        found = _first_match(candidates, patterns, f"{collection.name} {role}")
        if found:
            files[role], double = _by_key(found, collection.key, role)
            problems += double
        elif role in ("gt", "lq"):
            missing.append(
                f"{collection.name}: no {role.upper()} images found in the sources; looked for the folders "
                f"{', '.join(p for p in patterns if p not in (HERE, ANYWHERE))}: name the right one, "
                f"--source {role if len(family.collections) == 1 else collection.name}=PATH"
            )
    if missing:
        # Half a pair is a mistake, a collection that is not there may be meant.
        raise InputError(missing[0]) if files else _NothingFoundError(missing[0])
    for of_role, (other, of_other) in itertools.product(files.values(), files.items()):
        problems += [
            f"{of_role[key].where}: has no {other.upper()} image; add it, or remove this one"
            for key in of_role.keys() - of_other.keys()
        ]
    if problems:
        raise InputError("\n".join(sorted(problems)))
    return [Item(key, {role: of_role[key] for role, of_role in files.items()}) for key in files["gt"]]


def _candidates(
    family: Family, collection: Collection, folders: Mapping[str, Folders], role: str
) -> tuple[Folders, list[str]]:
    """Select the folders to look for `role` in, and the patterns of their names, best first."""
    own, common = collection.folders(role), COMMON_FOLDERS.get(role, ())
    everything_common = [*common, *([HERE] if role == "gt" and not collection.lq else [])]
    if len(family.collections) > 1:
        # What is not known by name could be any collection's.
        if collection.name in folders:
            return folders[collection.name], [*own, *everything_common]
        return folders.get(role, folders.get("", {})), list(own)
    if role in folders:
        return folders[role], [*own, ANYWHERE]
    return folders.get(collection.name, folders.get("", {})), [*own, *everything_common]


def _is_below(path: PurePosixPath, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(part.lower(), pattern.lower()) for pattern in patterns for part in path.parts)


def _first_match(folders: Folders, patterns: Sequence[str], what: str) -> list[Member]:
    """Find the files of the first pattern that matches any folder."""
    for pattern in patterns:
        if pattern == ANYWHERE:
            return list(itertools.chain(*folders.values()))
        found = list(itertools.chain(*(_in_one_folder(folders, part, what) for part in pattern.split(" + "))))
        if found:
            return found
    return []


def _in_one_folder(folders: Folders, pattern: str, what: str) -> list[Member]:
    wanted = pattern.lower().split("/")
    found = []
    for (_, path), members in folders.items():
        parts = [part.lower() for part in path.parts[-len(wanted) :]]
        if len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted)):
            found.append(members)
    if len(found) > 1:
        names = " and ".join(_folder_of(members[0]) for members in found[:3])
        raise InputError(f"{what}: {names} could each be meant; give the right one alone, or as --source LABEL=PATH")
    return found[0] if found else []


def _folder_of(member: Member) -> str:
    """Name of a folder for messages: the whole path, since sources may have the same name."""
    folder = member.where[: member.where.rfind("/") + 1] or member.source.name
    return str(member.source.parent / folder)


def _by_key(members: list[Member], pattern: str, role: str) -> tuple[dict[str, Member], list[str]]:
    """Map keys to files; also returns a line for each key that two files have."""
    files: dict[str, Member] = {}
    problems = []
    for member in members:
        key = image_key(member.path.stem, pattern, role)
        if len(key) > MAX_KEY:
            problems.append(f"{member.where}: has a name of more than {MAX_KEY} characters; rename it")
        first = files.setdefault(key, member)
        if first is not member:
            problems.append(f"{member.where}: is called {key} in the set, as is {first.where}; rename or remove one")
    return files, problems


ESCAPED = "utf-8", "surrogateescape"
"""Encoding in which bytes that are no UTF-8 are kept."""


def image_key(stem: str, pattern: str, role: str) -> str:
    """Build the key of an image in the data set.

    Args:
        stem: File name without extension.
        pattern: Regular expression; its first group is the key if it matches the whole stem.
        role: Role; the suffix of a scale (0001x2) is removed from LR names.

    Returns:
        An LMDB key as BasicSR can use it: ASCII, no dots.
    """
    if role.startswith("x"):
        stem = re.sub(rf"{role}$", "", stem, flags=re.IGNORECASE)
    match = re.fullmatch(pattern, stem, re.IGNORECASE)
    key = match[1] if match else stem
    # Where the locale is not UTF-8, Python hands over the bytes of a name; its key must not depend on that.
    key = re.sub(r"[\udc80-\udcff]+", lambda match: match[0].encode(*ESCAPED).decode(*ESCAPED), key)
    return re.sub(r"[^ -~]", lambda match: f"u{ord(match[0]):04x}", key.replace(".", "_"))
