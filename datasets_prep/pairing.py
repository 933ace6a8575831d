"""Pairs GT and LQ files by their names: equal ones, equal but for the suffix, by known patterns, or by a key."""

import re
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from ramit_model.system.errors import InputError
from ramit_model.system.image_names import some_of

GT_WORDS = frozenset(
    (
        *("gt", "hr", "clean", "clear", "norain", "normal", "high", "target", "groundtruth", "truth", "sharp"),
        *("mean", "reference", "ref", "original"),
    )
)
"""Words in names of ground truth, such as normal00001.png or 7_clean.png."""
LQ_WORDS = frozenset(
    (
        *("lq", "lr", "low", "rain", "rainy", "noisy", "noise", "hazy", "haze", "blur", "blurred", "blurry"),
        *("input", "degraded", "real", "dark", "snow", "snowy"),
    )
)
"""Words in names of low-quality images, such as low00001.png or rain-7.png."""

ADVICE = "add it, remove this one, or say which part of a name is the key ({key})"


class Pairs(NamedTuple):
    """Names of GT and LQ of each pair, sorted, and how they were found."""

    pairs: list[tuple[str, str]]
    how: str


class _Rule(NamedTuple):
    """Way to find the key of a file; a GT key may also be the beginning of the keys of several LQ files."""

    how: str
    gt: Callable[[str], str | None]
    lq: Callable[[str], str | None]
    beginnings: bool = False


class _Tried(NamedTuple):
    pairs: list[tuple[str, str]]
    problems: list[str]


def pair(
    gt: Sequence[str], lq: Sequence[str], *, key: str | None = None, template: str = "{}", option: str = "key"
) -> Pairs:
    """Pair files.

    Args:
        gt: Names of GT images: paths below their folder, POSIX.
        lq: Names of LQ images, likewise.
        key: Regular expression; what its groups (or the whole of it) find in a path without its suffix is the key.
            Several LQ images may have the key of one GT image.
        template: Name of an LQ image without suffix, where {} is that of its GT image; BasicSR's `filename_tmpl`.
        option: Name of `key` in messages.

    Raises:
        InputError: They cannot be paired; the line names the first file without a partner.
    """
    tried = []
    for rule in _rules(key, template, option):
        result = _try(rule, gt, lq)
        if not result.problems:
            counts = f"{len(result.pairs)} LQ images for {len(gt)} GT images, " if len(gt) < len(result.pairs) else ""
            return Pairs(sorted(result.pairs), f"{counts}paired by {rule.how}")
        tried.append(result)
    # The way that comes closest explains most; of equal ones the simplest.
    closest = max(tried, key=lambda result: len(result.pairs)).problems
    more = f" (and {len(closest) - 1} more)" if len(closest) > 1 else ""
    advice = ADVICE.format(key=f"{option}, a regular expression")
    raise InputError(f"{closest[0]}{more}; {advice}")


def _rules(key: str | None, template: str, option: str) -> list[_Rule]:
    if key is not None:
        find = _key_finder(key, option)
        return [_Rule(f"{option} {key}", find, find)]
    if template != "{}":
        return [_Rule(f"filename_tmpl {template}", lambda name: _renamed(name, template), _without_suffix)]
    rules = [_Rule("equal names", str, str), _Rule("equal names without suffix", _without_suffix, _without_suffix)]
    words = [(GT_WORDS, LQ_WORDS), (GT_WORDS, frozenset()), (frozenset(), LQ_WORDS)]
    rules += [_Rule("names without words such as normal and low, clean and noisy", *_finders(*each)) for each in words]
    words.insert(0, (frozenset(), frozenset()))
    beginning = "names of LQ images that begin with those of GT images"
    return [*rules, *(_Rule(beginning, *_finders(*each), beginnings=True) for each in words)]


def _try(rule: _Rule, gt: Sequence[str], lq: Sequence[str]) -> _Tried:
    problems: list[str] = []
    by_key: dict[str, str] = {}
    for name in gt:
        key = rule.gt(name)
        if key is None:
            problems.append(f"GT {some_of([name])} does not match {rule.how}")
        elif by_key.setdefault(key, name) != name:
            problems.append(f"GT {some_of([by_key[key]])} and {some_of([name])} would have one key by {rule.how}")
    pairs: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    for name in lq:
        key = rule.lq(name)
        if key is None:
            problems.append(f"LQ {some_of([name])} does not match {rule.how}")
            continue
        if rule.beginnings:
            key = _beginning(key, by_key)
        elif seen.setdefault(key, name) != name and not rule.how.startswith(("key", "--key")):
            problems.append(f"LQ {some_of([seen[key]])} and {some_of([name])} would have one key by {rule.how}")
        if key in by_key:
            pairs.append((by_key[key], name))
        else:
            problems.append(f"LQ {some_of([name])} has no partner")
    paired = {name for name, _ in pairs}
    problems += [f"GT {some_of([name])} has no partner" for name in by_key.values() if name not in paired]
    return _Tried(pairs, problems)


def _beginning(key: str, known: dict[str, str]) -> str:
    """Longest known key that `key` begins with, in whole words and numbers; `key` if there is none."""
    folder, _, name = key.rpartition("/")
    parts = name.split("-")
    for count in range(len(parts), 0, -1):
        candidate = f"{folder}/{'-'.join(parts[:count])}"
        if candidate in known:
            return candidate
    return key


def _key_finder(pattern: str, option: str) -> Callable[[str], str | None]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"{option}: {pattern!r} is not a regular expression ({error})") from None

    def find(name: str) -> str | None:
        match = compiled.search(_without_suffix(name))
        if not match:
            return None
        return "_".join(group or "" for group in match.groups()) if compiled.groups else match[0]

    return find


def _finders(
    gt_words: frozenset[str], lq_words: frozenset[str]
) -> tuple[Callable[[str], str | None], Callable[[str], str | None]]:
    return lambda name: _without_words(name, gt_words), lambda name: _without_words(name, lq_words)


def _without_words(name: str, words: frozenset[str]) -> str:
    """Folder, then the words and numbers of a name that are not among `words`, with dashes between them."""
    path = PurePosixPath(name)
    parts = re.findall(r"[^\W\d_]+|\d+", path.stem)
    return f"{path.parent}/{'-'.join(part for part in parts if part.lower() not in words)}"


def _without_suffix(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _renamed(name: str, template: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(template.format(path.stem)))
