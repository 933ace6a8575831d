"""Which files are restored into which: files, folders, patterns on one side, a folder or a file on the other."""

import glob
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from ramit_model.inference.pictures.formats import SUFFIXES, Format, format_of
from ramit_model.system.errors import InputError
from ramit_model.system.image_names import is_image
from ramit_model.system.text import printable

DEFAULT_OUT = Path("restored")


@dataclass(frozen=True)
class Job:
    """One file to restore, the file to write, and its place below the output folder."""

    source: Path
    output: Path
    place: PurePath


@dataclass(frozen=True)
class _Found:
    source: Path
    place: PurePath  # below the output folder


def list_jobs(
    inputs: Sequence[str],
    out: str | None,
    kind: Format | Literal["same"] = "same",
    *,
    left_out: list[str] | None = None,
) -> list[Job]:
    """Find the files to restore and name their outputs, before anything is read.

    Folders are searched through with all folders below them; their structure is kept in the output. Where two files
    would get the same output (a.jpg and a.tif with --format png), their whole names are kept (a.jpg.png, a.tif.png).

    Args:
        inputs: Files, folders and patterns such as `photos/**/*.jpg`.
        out: Folder, or file for a single file; None: `DEFAULT_OUT`.
        kind: Format of the outputs; `same`: that of each input, PNG where it is not written.
        left_out: Gets the names of the files in folders that are not taken for pictures.

    Raises:
        InputError: An input is missing or empty, outputs would overwrite inputs or each other.
    """
    target = DEFAULT_OUT if out is None else Path(out)
    single = len(inputs) == 1 and Path(inputs[0]).is_file()
    if names_file(target):
        if not single:
            raise InputError(f"-o {printable(target)}: is a file, but there may be several pictures; give a folder")
        if kind not in ("same", format_of(target)):
            raise InputError(f"-o {printable(target)}: is no name of a {kind} file; leave --format out, or correct it")
        return _safe([Job(Path(inputs[0]), target, PurePath(target.name))])
    if target.exists() and not target.is_dir():
        raise InputError(f"-o {printable(target)}: is not a folder; choose another")
    own = (target, comparison_folder(out))
    folders = sum(Path(each).is_dir() for each in inputs)
    found: dict[Path, _Found] = {}
    for each in inputs:
        for item in _find(each, target, own, several=folders > 1):
            if is_image(item.source) or not Path(each).is_dir():
                found.setdefault(item.source, item)
            elif left_out is not None:
                left_out.append(item.source.name)
    return _safe(_named(list(found.values()), target, kind))


def names_file(target: Path) -> bool:
    """Whether an output is a single picture, by its suffix, and not a folder."""
    return target.suffix.lower() in SUFFIXES and not target.is_dir()


def comparison_folder(out: str | None) -> Path:
    """Folder for comparisons, beside the output folder or file."""
    target = DEFAULT_OUT if out is None else Path(out)
    if names_file(target):
        target = target.with_suffix("")
    if target.name in ("", ".."):
        target = target.resolve()
    return target.with_name(f"{target.name}_compare")


def _find(text: str, target: Path, own: Sequence[Path], *, several: bool) -> list[_Found]:
    path = Path(text)
    if path.is_dir():
        if target.exists() and path.samefile(target):
            raise InputError(f"-o {printable(target)}: is the input folder itself; choose another")
        top = PurePath(path.resolve().name) if several else PurePath()
        found = [_Found(file, top / file.relative_to(path)) for file in _walk(path, own)]
        if not any(is_image(item.source) for item in found):
            raise InputError(f"{printable(path)}: has no pictures in it; check the folder")
        return found
    if path.exists():
        return [_Found(path, PurePath(path.name))]
    if not glob.has_magic(text):
        raise InputError(f"{printable(path)}: no such file or folder; check the path")
    base = _fixed_part(path)
    matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207  absolute patterns, too
    files = [match for match in matches if match.is_file() and is_image(match)]
    files = [file for file in files if not any(_is_inside(file, folder) for folder in own)]
    if not files:
        raise InputError(f"{printable(path)}: matches no pictures; check the pattern")
    return [_Found(file, file.relative_to(base)) for file in files]


def _fixed_part(pattern: Path) -> Path:
    """Folder above the first part of a pattern that has magic characters."""
    parts = pattern.parts
    count = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:count])


def _walk(folder: Path, own: Sequence[Path]) -> Iterator[Path]:
    """Files in a folder and all folders below, sorted; each folder once, however links lead there; never what this
    command wrote.
    """
    seen: set[tuple[int, int]] = set()
    pending = [folder]
    while pending:
        current = pending.pop()
        try:
            status = current.stat()
            if (status.st_dev, status.st_ino) in seen or (current != folder and any(_is_same(current, o) for o in own)):
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted((e for e in current.iterdir() if not e.name.startswith(".")), reverse=True)
        except OSError as error:
            raise InputError(f"{printable(current)}: {error.strerror}; make it readable") from error
        yield from (file for file in reversed(entries) if file.is_file())
        pending += [entry for entry in entries if not entry.name.startswith(".") and entry.is_dir()]


def _is_same(path: Path, other: Path) -> bool:
    return other.exists() and path.samefile(other)


def _is_inside(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents


def _named(found: list[_Found], target: Path, kind: Format | Literal["same"]) -> list[Job]:
    outputs = {item.source: target / _output_name(item.place, kind) for item in found}
    by_output: dict[Path, list[_Found]] = defaultdict(list)
    for item in found:
        by_output[outputs[item.source]].append(item)
    for output, claimants in by_output.items():
        if len(claimants) > 1:
            for item in claimants:
                if item.place.name != output.name:
                    outputs[item.source] = target / item.place.with_name(item.place.name + output.suffix)
    return [Job(item.source, outputs[item.source], outputs[item.source].relative_to(target)) for item in found]


def _output_name(place: PurePath, kind: Format | Literal["same"]) -> PurePath:
    suffix = place.suffix
    written = SUFFIXES.get(suffix.lower())
    if written and kind in ("same", written):
        return place
    ending = f".{'png' if kind == 'same' else kind}"
    # Only the suffix of a picture is one: "Mt. Fuji" has none.
    return place.with_suffix(ending) if is_image(place) else place.with_name(place.name + ending)


def _safe(jobs: list[Job]) -> list[Job]:
    """The jobs, none of which overwrites an input or another's output."""
    inputs = {(status.st_dev, status.st_ino): job.source for job in jobs for status in [job.source.stat()]}
    taken: dict[Path, Path] = {}
    for job in jobs:
        other = taken.setdefault(job.output, job.source)
        if other != job.source:
            both = f"{printable(other)} and {printable(job.source)}"
            raise InputError(f"{both}: would both become {printable(job.output)}; give the folder above them instead")
        try:
            status = job.output.stat()
        except OSError:
            continue
        if source := inputs.get((status.st_dev, status.st_ino)):
            raise InputError(f"{printable(source)}: would be overwritten; choose another folder with -o")
    return jobs
