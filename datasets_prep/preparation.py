"""Prepares a family: sources -> checked, complete LMDBs or folders, written under a temporary name first."""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from datasets_prep.estimate import readable, require_space, space_needed
from datasets_prep.families import Family
from datasets_prep.gathering import Item, gather
from datasets_prep.image_files import ImageError, Treatment, decode, size_in_header
from datasets_prep.journal import Journal
from datasets_prep.manifest import Header, Record, read_header, write_manifest
from datasets_prep.sources import Member, list_source, needs_unpacking, read, unpack
from datasets_prep.stores import BYTES_A_COMMIT, LmdbStore, Store, open_store
from datasets_prep.work import Job, Made, Output, make, role_scale, size_problem
from ramit_model.system.errors import InputError
from ramit_model.system.files import write_atomically
from ramit_model.system.processes import available_cores, ordered_map

WORK = ".preparing"
"""Folder, beside what is prepared, of what is not whole yet."""

PLAN, JOURNAL, LOCK = "plan.json", "journal.jsonl", "lock"
"""Files in it."""

SECONDS_A_COMMIT = 2
"""Longest time whose work an interruption costs."""

HEADER_BYTES = 2**16
"""Enough of a file to tell its size in pixels."""


@dataclass(frozen=True)
class Settings:
    """What the command line says beside family, sources and target.

    Attributes:
        scales: Of super-resolution, those to make; none for other families.
        compress_level: Of the PNGs, 0 (fast, large) to 9 (slow, small).
        jobs: Processes; None for one a core.
        force: Replace what is there.
        incomplete: Fewer images than published are no error.
        pair_scale: Sizes of ground truth over those of given LQ images.
    """

    scales: tuple[int, ...] = ()
    compress_level: int = 1
    jobs: int | None = None
    force: bool = False
    incomplete: bool = False
    pair_scale: int = 1


def prepare(family: Family, sources: Sequence[tuple[str, Path]], out: Path, settings: Settings) -> None:
    """Make all that `family` yields; what is there already and was made alike is left alone.

    Interrupted at any moment, the same call goes on where it stopped.

    Args:
        family: What to make.
        sources: Label (role, collection or "") and folder or archive each.
        out: Folder of data sets.
        settings: See there.

    Raises:
        InputError: A line for each thing that is wrong with the sources, or the one reason why nothing can be done.
        OSError: The target cannot be written.
    """
    base = out if family.name == "folder" else out / family.name
    for path in (base, *base.parents):
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: is a file; choose another --out")
    with _unpacked(sources, base) as members:
        _Preparation(family, members, out, base / WORK, settings).run()


@contextmanager
def _unpacked(sources: Sequence[tuple[str, Path]], base: Path) -> Iterator[dict[str, list[Member]]]:
    """Label -> image files. Compressed tar archives, which can only be read from the start, are decompressed first."""
    folder, existed = base / f"{WORK}-archives", base.exists()
    members: dict[str, list[Member]] = {}
    problems = []
    try:
        for label, source in sources:
            try:
                unpacked = None
                if needs_unpacking(source):
                    require_space(source.stat().st_size, folder, f"decompressing {source.name}")
                    print(f"decompress {source.name}", flush=True)
                    unpacked = unpack(source, folder)
                members.setdefault(label, []).extend(list_source(source, unpacked))
            except InputError as error:
                problems.append(str(error))
        if problems:
            raise InputError("\n".join(problems))
        yield members
    finally:
        # The next call will need them where this one has begun to work and was interrupted.
        if not (base / WORK).exists():
            shutil.rmtree(folder, ignore_errors=True)
            if not existed:
                with suppress(OSError):  # there are results in it
                    base.rmdir()


class _Preparation:
    """One call of `prepare`, after the sources were listed."""

    def __init__(
        self, family: Family, members: dict[str, list[Member]], out: Path, work: Path, settings: Settings
    ) -> None:
        self.family, self.out, self.work, self.settings = family, out, work, settings
        roles = [role for role in family.outputs if not role.startswith("x") or int(role[1:]) in settings.scales]
        self.items, self.complete = gather(family, members, roles, incomplete=settings.incomplete)
        pair_scale = settings.pair_scale
        scales = {role: role_scale(role, pair_scale) for role in family.outputs}
        outputs = tuple(Output(role, family.outputs[role], scales[role]) for role in roles)
        # Ground truth in an LMDB serves all scales of its family, made now or later; test images stay whole.
        multiple = math.lcm(*scales.values()) if outputs[0].is_lmdb else 1
        treatment = Treatment(family.color, family.deep)
        self.job = Job(outputs, multiple, pair_scale, family.grid, settings.compress_level, treatment)
        if family.grid is not None:
            try:
                family.grid.check_multiple(multiple)
            except ValueError as error:
                raise InputError(f"--crop-size, --step: {error}") from None

    def run(self) -> None:
        wanted = tuple(output for output in self.job.outputs if self._is_wanted(output))
        if wanted:
            self._prepare(replace(self.job, outputs=wanted))
        else:
            for output in self.job.outputs:
                print(f"{self.out / output.path}: is there already, left alone (--force makes it anew)")
            shutil.rmtree(self.work, ignore_errors=True)

    def _prepare(self, job: Job) -> None:
        self.job = job
        sizes = self._sizes()
        done = self._done_before()
        space = space_needed(self.items, sizes, job)
        print(f"{self.family.name}: {self._amount()}, about {readable(space)}", flush=True)
        require_space(space * (1 - done / len(self.items)), self.work, f"preparing {self.family.name}")
        self.work.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.work / LOCK, timeout=0):
                self._work(go_on=done > 0)
        except Timeout:
            raise InputError(f"{self.work}: another process is preparing this set; wait for it") from None
        shutil.rmtree(self.work)

    # --- before anything is written ---

    def _is_wanted(self, output: Output) -> bool:
        """The output is not there yet, or is to be replaced.

        Raises:
            InputError: What is there is something else.
        """
        path = self.out / output.path
        if not path.exists() or self.settings.force:
            return True
        found, ours = read_header(path), self._header(output)
        choice = "choose another --out, or say --force to replace it"
        if found is None:
            raise InputError(f"{path}: is there already, and not from this command; {choice}")
        changed = [key for key, value in ours.made_with.items() if found.made_with.get(key) != value]
        if changed:
            raise InputError(f"{path}: is there already, with another {', '.join(changed)}; {choice}")
        if found.made_from != ours.made_from:
            raise InputError(
                f"{path}: is there already, from other images ({found.images} then, {ours.images} now); {choice}"
            )
        return False

    def _header(self, output: Output, entries: int = 0, notes: dict[str, list[str]] | None = None) -> Header:
        made_from = hashlib.sha256()
        for item in self.items:
            for role in sorted({"gt", output.role} & item.files.keys()):
                member = item.files[role]
                made_from.update(json.dumps([item.key, role, member.path.name, member.size]).encode())
        up = "../" * (output.path.count("/") + 1)
        return Header(
            family=self.family.name,
            role=output.role,
            made_with={**self._settings(), "scale": output.scale},
            made_from=made_from.hexdigest(),
            images=len(self.items),
            complete=self.complete,
            entries=entries,
            gt=None if output.role == "gt" else up + self.family.outputs["gt"],
            scale=output.scale,
            notes=notes or {},
        )

    def _amount(self) -> str:
        """How many images were found, and where in a union."""
        collections = self.family.collections
        found = f"{len(self.items):,}"
        if not self.complete:
            found += f" of {self.family.images:,}"
        found += " pairs" if "lq" in self.family.outputs else " images"
        if len(collections) == 1:
            return found
        counts = {c.name: sum(item.key.startswith(f"{c.name}_") for item in self.items) for c in collections}
        return f"{found} ({', '.join(f'{count:,} of {name}' for name, count in counts.items())})"

    def _settings(self) -> dict[str, object]:
        """What content depends on beside the images."""
        settings = asdict(self.job)
        del settings["outputs"]
        return settings

    def _sizes(self) -> list[tuple[int, int]]:
        """Height and width of the ground truth of every item, from the headers of all files.

        Raises:
            InputError: A line for each file that is no image or has the wrong size.
        """
        gt_sizes: list[tuple[int, int]] = []
        problems: list[str] = []
        for item in tqdm(self.items, desc="check sizes", unit="image", disable=None, leave=False):
            sizes: dict[str, tuple[int, int]] = {}
            for role, member in item.files.items():
                try:
                    sizes[role] = self._size(member)
                except ImageError as error:
                    problems.append(f"{member.where}: {error}")
                except InputError as error:
                    problems.append(str(error))
            problem = size_problem(item, sizes, self.job) if len(sizes) == len(item.files) else None
            problems += [problem] if problem else []
            gt_sizes.append(sizes.get("gt", (0, 0)))
        if problems:
            raise InputError("\n".join(problems))
        return gt_sizes

    def _size(self, member: Member) -> tuple[int, int]:
        size = size_in_header(read(member, HEADER_BYTES))
        if size is None:  # decoding tells, or says why not
            height, width = decode(read(member), self.job.treatment).image.shape[:2]
            size = (height, width)
        return size

    def _done_before(self) -> int:
        """Number of images that an interrupted call has finished."""
        if _read_plan(self.work) != self._plan() or not all(map(Path.is_dir, map(self._unfinished, self.job.outputs))):
            return 0
        with Journal(self.work / JOURNAL) as journal:
            return sum(map(journal.has, self.items))

    def _plan(self) -> object:
        return json.loads(json.dumps([self._settings(), [output.path for output in self.job.outputs]]))

    def _unfinished(self, output: Output) -> Path:
        """Where an output lies until it is whole."""
        return self.work / Path(output.path).name

    # --- the work ---

    def _work(self, *, go_on: bool) -> None:
        if not go_on:
            _empty(self.work)
            write_atomically(json.dumps(self._plan()).encode(), self.work / PLAN)
        with ExitStack() as stack:
            journal = stack.enter_context(Journal(self.work / JOURNAL))
            stores: dict[str, Store] = {o.role: open_store(self._unfinished(o)) for o in self.job.outputs}
            for store in stores.values():
                stack.callback(store.close)
            self._take_back(journal, stores)
            self._make_all(journal, stores)
            notes: dict[str, list[str]] = {}
            for line in journal:
                for note in line.notes:
                    notes.setdefault(note, []).append(line.key)
            for output in self.job.outputs:
                self._finish(output, journal, stores[output.role], notes)
        for output in self.job.outputs:
            self._publish(output)
        for note, keys in notes.items():
            print(f"{self.family.name}: {note}: {', '.join(keys[:5])}{f' and {len(keys) - 5} more' * (len(keys) > 5)}")

    def _take_back(self, journal: Journal, stores: dict[str, Store]) -> None:
        """Remove images whose files have changed or gone since an interrupted call."""
        stale = journal.stale(self.items)
        for role, store in stores.items():
            store.remove(record.key for line in stale for record in line.records[role])
        journal.forget(line.key for line in stale)

    def _make_all(self, journal: Journal, stores: dict[str, Store]) -> None:
        todo = [item for item in self.items if not journal.has(item)]
        # A process takes a moment to start: small sets need few.
        jobs = min(self.settings.jobs or available_cores(), max(1, len(todo) // 4))
        problems: list[str] = []
        with (
            _Batches(journal, stores) as batches,
            tqdm(
                total=len(self.items),
                initial=len(self.items) - len(todo),
                desc=self.family.name,
                unit="image",
                disable=None,
            ) as progress,
        ):
            for item, made in zip(todo, ordered_map(partial(make, job=self.job), todo, jobs), strict=True):
                problems += made.problems
                if not made.problems:
                    batches.add(item, made)
                progress.update()
        if problems:
            problems.append(
                f"{self.family.name}: {len(journal)} of {len(self.items)} images are kept for the next call"
            )
            raise InputError("\n".join(problems))

    def _finish(self, output: Output, journal: Journal, store: Store, notes: dict[str, list[str]]) -> None:
        """Read everything back, then describe it."""

        def records() -> Iterator[Record]:
            return chain.from_iterable(line.records[output.role] for line in journal)

        count, size = 0, 0
        checked = tqdm(
            records(), desc=f"verify {output.path}", total=len(store), unit="entry", disable=None, leave=False
        )
        for record in checked:
            count += 1
            content = store.get(record.key)
            if content is None or hashlib.sha256(content).hexdigest() != record.sha256:
                (self.work / PLAN).unlink()
                raise InputError(
                    f"{store.path}: entry {record.key} is not what was written; check the disk, run the same command"
                )
            size += len(content)
            if size >= BYTES_A_COMMIT:
                store.release()
                size = 0
        if count != len(store):
            (self.work / PLAN).unlink()
            raise InputError(f"{store.path}: {len(store)} entries where {count} were written; run the same command")
        if isinstance(store, LmdbStore):
            store.write_meta_info((record.key, record.size, self.job.compress_level) for record in records())
        write_manifest(store.path, self._header(output, count, notes), records())

    def _publish(self, output: Output) -> None:
        """Give an output its name; what had it before goes."""
        path = self.out / output.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.rename(self.work / f"{output.role}.replaced")
        self._unfinished(output).rename(path)
        header = read_header(path)
        assert header is not None  # noqa: S101  it was just written
        size = sum(file.stat().st_size for file in path.iterdir())
        what = "entries" if output.is_lmdb else "files"
        print(f"{path}: {header.entries} {what} from {header.images} images, {readable(size)}")


class _Batches:
    """Collects what is made, and writes it whenever it is enough."""

    def __init__(self, journal: Journal, stores: dict[str, Store]) -> None:
        self.journal, self.stores = journal, stores
        self.made: list[tuple[Item, Made]] = []
        self.size, self.last = 0, time.monotonic()

    def __enter__(self) -> "_Batches":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After Ctrl-C too: what is made is made.
        if kind in (None, KeyboardInterrupt):
            self.write()

    def add(self, item: Item, made: Made) -> None:
        self.made.append((item, made))
        self.size += sum(len(content) for entries in made.entries.values() for _, content in entries)
        if self.size >= BYTES_A_COMMIT or time.monotonic() > self.last + SECONDS_A_COMMIT:
            self.write()

    def write(self) -> None:
        for role, store in self.stores.items():
            store.put((record.key, content) for _, made in self.made for record, content in made.entries[role])
        # Only now: an image in the journal is in every store.
        self.journal.add(self.made)
        self.made, self.size, self.last = [], 0, time.monotonic()


def _read_plan(work: Path) -> object:
    try:
        return json.loads((work / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _empty(work: Path) -> None:
    """Remove what a call with another plan left; the lock is ours."""
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
