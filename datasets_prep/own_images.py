"""Images of the user's own: keys from their names, and pairs of GT and LQ files."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from datasets_prep.gathering import MAX_KEY, Item, image_key
from datasets_prep.pairing import GT_WORDS, LQ_WORDS, pair
from datasets_prep.sources import Member
from ramit_model.system.errors import InputError

ANY_NAME = "(.+)"


def own_items(members: Mapping[str, Sequence[Member]], *, key: str | None = None) -> tuple[list[Item], list[str]]:
    """Name the images of the user's own, and pair them if there are LQ images.

    Args:
        members: Label (gt, lq; "" for sources without one, which are GT) -> image files.
        key: Regular expression that finds what GT and LQ names have in common; None if names or known patterns tell.

    Returns:
        Items sorted by key, and remarks, such as how they were paired.

    Raises:
        InputError: A line for each image that is double or without partner.
    """
    if "" in members and "gt" in members:
        raise InputError("--source: some have the label gt and some have none; label all, as gt=PATH or lq=PATH")
    gt = _once(members.get("gt", members.get("", ())))
    lq = _once(members.get("lq", ()))
    if not gt:
        raise InputError("folder: no GT images found in the sources; name them, --source gt=PATH lq=PATH")
    if not lq:
        if key is not None:
            raise InputError("--key: is for pairs, --source gt=PATH lq=PATH; leave it out")
        if "gt" not in members:
            _refuse_pairs_among(gt)
        return _items([{"gt": member} for member in gt], "gt"), []
    _refuse_two_roles(gt, lq)
    pairs, how = _pairs(gt, lq, key)
    several = len({member for member, _ in pairs}) < len(pairs)
    files = [{"gt": of_gt, "lq": of_lq} for of_gt, of_lq in pairs]
    return _items(files, "lq" if several else "gt"), [] if how == "paired by equal names" else [how]


def _once(members: Sequence[Member]) -> list[Member]:
    return list(dict.fromkeys(members))  # a source may be given twice


def _refuse_pairs_among(members: Sequence[Member]) -> None:
    """Refuse one source with as many images in folders such as high/ as in others such as low/."""
    folders: dict[str, list[PurePosixPath]] = {"gt": [], "lq": []}
    for member in members:
        parents = list(PurePosixPath(member.name).parents)[:-1]
        for role, words in (("gt", GT_WORDS), ("lq", LQ_WORDS)):
            folders[role] += [parent for parent in parents if parent.name.lower() in words][:1]
    if folders["gt"] and len(folders["gt"]) == len(folders["lq"]):
        source = members[0].source
        gt, lq = (source / folders[role][0] for role in ("gt", "lq"))
        raise InputError(
            f"{source}: {folders['gt'][0]} and {folders['lq'][0]} look like pairs; say so: --source gt={gt} lq={lq}, "
            "or name each folder as a source if all are clean images"
        )


def _place(member: Member) -> tuple[Path, str]:
    if member.kind == "folder":
        return (member.source / member.name).resolve(), ""
    return member.source.resolve(), member.name


def _refuse_two_roles(gt: Sequence[Member], lq: Sequence[Member]) -> None:
    places = {_place(member) for member in lq}
    both = [member.where for member in gt if _place(member) in places]
    if both:
        more = f" (and {len(both) - 1} more)" if len(both) > 1 else ""
        raise InputError(f"{both[0]}{more}: is GT and LQ; give folders of which neither lies in the other")


def _pairs(gt: Sequence[Member], lq: Sequence[Member], key: str | None) -> tuple[list[tuple[Member, Member]], str]:
    """Pair by the paths in the sources, else by the names of the files alone."""
    problem: InputError | None = None
    for whole in (True, False):
        of_gt, of_lq = ({_name(member, whole): member for member in role} for role in (gt, lq))
        if len(of_gt) < len(gt) or len(of_lq) < len(lq):  # not unique
            continue
        try:
            found = pair(sorted(of_gt), sorted(of_lq), key=key, option="--key")
        except InputError as error:
            problem = problem or error
            continue
        return [(of_gt[one], of_lq[other]) for one, other in found.pairs], found.how
    raise problem or InputError("folder: images of several sources have one name; prepare each source by itself")


def _name(member: Member, whole: bool) -> str:
    return member.name if whole else PurePosixPath(member.name).name


def _items(files: Sequence[dict[str, Member]], naming: str) -> list[Item]:
    """Give each image a key: its name, if all are different, else with sub-folders, else also with the source."""
    for depth in ("name", "path", "source"):
        keys = [_key(of_image[naming], depth) for of_image in files]
        if len(set(keys)) == len(keys):
            break
    first: dict[str, str] = {}
    problems = []
    for name, of_image in zip(keys, files, strict=True):
        where = of_image[naming].where
        if name in first:
            problems.append(f"{where}: is called {name} in the set, as is {first[name]}; rename or remove one")
        elif len(name) > MAX_KEY:
            problems.append(f"{where}: has a name of more than {MAX_KEY} characters; rename it")
        first.setdefault(name, where)
    if problems:
        raise InputError("\n".join(problems))
    return sorted((Item(name, of_image) for name, of_image in zip(keys, files, strict=True)), key=lambda item: item.key)


def _key(member: Member, depth: str) -> str:
    path = PurePosixPath(member.name).with_suffix("")
    parts = {"name": path.parts[-1:], "path": path.parts, "source": member.path.with_suffix("").parts}[depth]
    return image_key("_".join(parts), ANY_NAME, "gt")
