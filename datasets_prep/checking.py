"""Checks prepared data sets: entries are as they were written, and LQ and GT fit together."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import lmdb
from tqdm import tqdm

from datasets_prep.image_files import Treatment, decode
from datasets_prep.image_formats import ImageError
from datasets_prep.manifest import Header, Record, manifest_path, read_header, read_records
from datasets_prep.writing import UNFINISHED
from ramit_model.system.errors import InputError
from ramit_model.system.occasional import bar_options
from ramit_model.system.processes import available_cores, ordered_map

ENTRIES_A_TASK = 64


@dataclass(frozen=True)
class Checked:
    """Result of checking a data set."""

    path: Path
    header: Header | None
    entries: int
    problems: list[str]

    @property
    def summary(self) -> str:
        """Result in one line."""
        if self.problems:
            return f"{self.path}: {len(self.problems)} problem{'s' * (len(self.problems) > 1)}"
        if self.header is None:
            return f"{self.path}: {self.entries} entries decode (no manifest: nothing else is known about them)"
        part = "" if self.header.complete else " (not all of the published ones)"
        gt = f", pairs with {Path(self.header.gt).name} times {self.header.scale}" if self.header.gt else ""
        return f"{self.path}: {self.entries} entries from {self.header.images} images{part} as recorded{gt}"


def check(path: Path, jobs: int | None = None) -> Iterator[Checked]:
    """Check every LMDB and every prepared folder at or below `path`.

    Every entry must decode, have the recorded size and checksum, and match its ground truth in key and in size times
    scale. LMDBs from elsewhere have no checksums: their entries must decode to the sizes in `meta_info.txt`.

    Args:
        path: LMDB, folder of images, or a folder that holds some.
        jobs: Number of processes; None for one a core.

    Yields:
        The result for each data set.

    Raises:
        InputError: There is nothing to check.
    """
    stores = find_stores(path)
    if not stores:
        raise InputError(f"{path}: no LMDB and no prepared folder here; check the path")
    for store in stores:
        problems: list[str] = []
        header = None
        entries = 0
        try:
            if store.name == UNFINISHED:
                raise InputError(f"{store}: an unfinished preparation; run its command again")
            header = read_header(store)
            records = list(read_records(store)) if header else list(_meta_info(store))
            entries = len(records)
            problems += _check_entries(store, records, header, jobs or available_cores())
            if header is not None and header.gt is not None:
                problems += _check_pairs(store, header, records)
        except InputError as error:
            problems += str(error).splitlines()
        yield Checked(store, header, entries, problems)


def find_stores(path: Path) -> list[Path]:
    """Find LMDBs and prepared folders at or below `path`, and unfinished preparations."""
    # The working directory may be an LMDB.
    return _find_stores(path if path.name else path.resolve(), frozenset())


def _find_stores(path: Path, above: frozenset[Path]) -> list[Path]:
    # A link to a folder above would lead round for ever.
    if not path.is_dir() or path.resolve() in above:
        return []
    if path.suffix == ".lmdb" or path.name == UNFINISHED or manifest_path(path).is_file():
        return [path]
    above |= {path.resolve()}
    return [store for folder in sorted(path.iterdir()) for store in _find_stores(folder, above)]


def _meta_info(store: Path) -> Iterator[Record]:
    """Read the entries from BasicSR's list, which has no checksums."""
    try:
        lines = (store / "meta_info.txt").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{store}: meta_info.txt is missing or cannot be read; prepare the set again") from None
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(r"([^.]+)\.\S* \((\d+),(\d+),(\d+)\) \d+", line)
        if not match:
            raise InputError(f"{store / 'meta_info.txt'}:{number}: not 'name.png (h,w,c) level'; prepare the set again")
        yield Record(match[1], (int(match[2]), int(match[3]), int(match[4])), "")


def _check_entries(store: Path, records: list[Record], header: Header | None, jobs: int) -> list[str]:
    names = {record.key for record in records}
    if store.suffix == ".lmdb":
        there = _lmdb_keys(store)
        if header is not None and [(r.key, r.size) for r in _meta_info(store)] != [(r.key, r.size) for r in records]:
            return [f"{store}: meta_info.txt and manifest.jsonl differ; prepare the set again"]
    else:
        there = {path.stem if path.suffix == ".png" else path.name for path in store.iterdir() if path.name[0] != "."}
    problems = [f"{store}: entry {key} is missing; prepare the set again" for key in sorted(names - there)]
    problems += [f"{store}: {key} is not in the list of entries; remove it" for key in sorted(there - names)]
    if header is not None and header.entries != len(records):
        problems.append(f"{store}: {len(records)} entries are listed, {header.entries} were; prepare the set again")
    present = [record for record in records if record.key in there]
    tasks = [present[i : i + ENTRIES_A_TASK] for i in range(0, len(present), ENTRIES_A_TASK)]
    jobs = min(jobs, max(1, len(tasks) // 2))
    with tqdm(total=len(present), desc=store.name, unit="entry", **bar_options(leave=False)) as progress:
        for task, found in zip(tasks, ordered_map(partial(_compare, store), tasks, jobs), strict=True):
            problems += found
            progress.update(len(task))
    return problems


def _lmdb_keys(store: Path) -> set[str]:
    with _reading(store) as transaction:
        return {bytes(key).decode(errors="replace") for key in transaction.cursor().iternext(values=False)}


@contextmanager
def _reading(store: Path) -> Iterator[lmdb.Transaction]:
    try:
        with lmdb.open(os.fsencode(store), readonly=True, lock=False, readahead=False) as environment:
            size = environment.stat()["psize"] * (environment.info()["last_pgno"] + 1)
            # LMDB maps the file into memory: reading behind its end would kill the process.
            if (store / "data.mdb").stat().st_size < size:
                raise InputError(f"{store}: data.mdb is cut short; prepare the set again")
            with environment.begin() as transaction:
                yield transaction
    except lmdb.Error as error:
        reason = str(error).split(": ")[-1]
        raise InputError(f"{store}: cannot be read as an LMDB ({reason}); prepare the set again") from None


def _compare(store: Path, records: list[Record]) -> list[str]:
    """Compare entries with their records; returns a line for each that differs."""
    problems = []
    for record, content in zip(records, _contents(store, records), strict=True):
        where = f"{store}: entry {record.key}"
        if content is None:
            problems.append(f"{where} cannot be read; check the disk, or prepare the set again")
            continue
        if record.sha256 and hashlib.sha256(content).hexdigest() != record.sha256:
            problems.append(f"{where} has changed since it was written; prepare the set again")
            continue
        try:
            image = decode(content, Treatment("gray" if record.size[2] == 1 else "color", "round")).image
        except ImageError as error:
            problems.append(f"{where}: {error}")
            continue
        size = (*image.shape, 1)[:3]
        # Opaque alpha, in LMDBs from elsewhere, is not a color.
        if size != (*record.size[:2], min(record.size[2], 3)):
            found, recorded = ("x".join(map(str, lengths)) for lengths in (size, record.size))
            problems.append(f"{where} is {found}, recorded as {recorded}; prepare the set again")
    return problems


def _contents(store: Path, records: list[Record]) -> Iterator[bytes | None]:
    if store.suffix != ".lmdb":
        for record in records:
            try:
                yield (store / f"{record.key}.png").read_bytes()
            except OSError:
                yield None
        return
    with _reading(store) as transaction:
        for record in records:
            content = transaction.get(record.key.encode())
            yield None if content is None else bytes(content)


def _beside_renamed(store: Path, gt: str) -> Path | None:
    """Ground truth at `gt` as seen from a store, if the folder of the family that holds both was renamed."""
    ups, names = gt.count("../"), gt.replace("../", "").split("/")
    if ups < 2 or len(names) < 2:
        return None
    return store.absolute().parents[ups - 2].joinpath(*names[1:])


def _check_pairs(store: Path, header: Header, records: list[Record]) -> list[str]:
    """Check that every entry has its ground truth, `scale` times as large (in tests up to `scale - 1` pixels more)."""
    assert header.gt is not None  # noqa: S101  the caller knows
    # Not resolved: of a linked folder, the neighbours of the link count.
    gt = Path(os.path.normpath(store / header.gt))
    if read_header(gt) is None:
        gt = _beside_renamed(store, header.gt) or gt
    if read_header(gt) is None:
        return [f"{store}: its ground truth {gt} is missing; prepare the family again"]
    gt_sizes = {record.key: record.size for record in read_records(gt)}
    suffix = header.role if header.role.startswith("x") and store.suffix != ".lmdb" else ""
    sizes = {record.key.removesuffix(suffix): record.size for record in records}
    problems = [f"{store}: entry {key} has no partner in {gt.name}" for key in sorted(sizes.keys() - gt_sizes.keys())]
    problems += [f"{gt}: entry {key} has no partner in {store.name}" for key in sorted(gt_sizes.keys() - sizes.keys())]
    spare = 0 if store.suffix == ".lmdb" else header.scale - 1
    for key, size in sizes.items():
        over = [g - header.scale * s for g, s in zip(gt_sizes.get(key, ())[:2], size[:2], strict=False)]
        if over and not 0 <= min(over) <= max(over) <= spare:
            problems.append(
                f"{store}: entry {key} is {size[0]}x{size[1]}, its ground truth {gt_sizes[key][0]}x{gt_sizes[key][1]}, "
                f"scale {header.scale}"
            )
    return problems
