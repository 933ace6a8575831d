"""Writes the outputs of a family under a temporary name, and goes on where an interrupted call stopped."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from filelock import FileLock, Timeout
from tqdm import tqdm

from datasets_prep.estimate import readable
from datasets_prep.gathering import Item
from datasets_prep.journal import Journal
from datasets_prep.manifest import Header, Record, read_header, write_manifest
from datasets_prep.processing import Job, Output, Processed, process
from datasets_prep.stores import BYTES_A_COMMIT, DamagedStoreError, LmdbStore, Store, open_store
from ramit_model.system.errors import InputError
from ramit_model.system.files import write_atomically
from ramit_model.system.locks import held
from ramit_model.system.occasional import bar_options
from ramit_model.system.processes import available_cores, ordered_map

UNFINISHED = ".preparing"
"""Folder, beside the outputs, in which they are until they are whole."""

PLAN, JOURNAL, LOCK = "plan.json", "journal.jsonl", "lock"
"""Files in it."""

SECONDS_A_COMMIT = 2
"""Longest time whose work an interruption costs."""

Headers: TypeAlias = Callable[[Output, int, dict[str, list[str]]], Header]
"""Gives the manifest's header for an output, its number of entries and its notes."""


class Writing:
    """Writing of all outputs of a job, in a folder of its own that goes when they are whole.

    Args:
        name: Name of the family.
        items: Images to process.
        job: How they are processed, and the outputs to write.
        header: Gives the manifest's header for an output.
        folder: Folder for everything unfinished.
        out: Folder below which the outputs appear.
    """

    def __init__(self, name: str, items: Sequence[Item], job: Job, header: Headers, folder: Path, out: Path) -> None:
        self.name, self.items, self.job, self.header = name, items, job, header
        self.folder, self.out = folder, out

    def images_done(self) -> int:
        """Count the images that an interrupted call has finished."""
        begun = all(self._unfinished(output).is_dir() for output in self.job.outputs)
        if not begun or _read_plan(self.folder) != self._plan():
            return 0
        with Journal(self.folder / JOURNAL) as journal:
            return sum(map(journal.has, self.items))

    def run(self, jobs: int | None, *, resume: bool) -> None:
        """Write everything.

        Args:
            jobs: Number of processes; None for one a core.
            resume: Go on with what an interrupted call has written.

        Raises:
            InputError: A line for each image that cannot be used; or another process writes here.
            OSError: The disk is full.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with held(FileLock(self.folder / LOCK, timeout=0)):
                try:
                    self._write(jobs or available_cores(), resume=resume)
                except DamagedStoreError as error:
                    if not resume:
                        raise
                    print(f"{error}\n{self.name}: begun again", flush=True)
                    self._write(jobs or available_cores(), resume=False)
        except Timeout:
            raise InputError(f"{self.folder}: another process is preparing this set; wait for it") from None
        shutil.rmtree(self.folder)

    def _plan(self) -> object:
        return json.loads(json.dumps([self.job.settings(), [output.path for output in self.job.outputs]]))

    def _unfinished(self, output: Output) -> Path:
        """Path of an output until it is whole."""
        return self.folder / Path(output.path).name

    def _write(self, jobs: int, *, resume: bool) -> None:
        if not resume:
            _empty(self.folder)
            write_atomically(json.dumps(self._plan()).encode(), self.folder / PLAN)
        with ExitStack() as stack:
            journal = stack.enter_context(Journal(self.folder / JOURNAL))
            stores: dict[str, Store] = {o.role: open_store(self._unfinished(o)) for o in self.job.outputs}
            for store in stores.values():
                stack.callback(store.close)
            self._remove_stale(journal, stores)
            self._process_all(journal, stores, jobs)
            notes: dict[str, list[str]] = {}
            for line in journal:
                for note in line.notes:
                    notes.setdefault(note, []).append(line.key)
            for output in self.job.outputs:
                self._finish(output, journal, stores[output.role], notes)
        for output in self.job.outputs:
            self._publish(output)
        for note, keys in notes.items():
            print(f"{self.name}: {note}: {', '.join(keys[:5])}{f' and {len(keys) - 5} more' * (len(keys) > 5)}")

    def _remove_stale(self, journal: Journal, stores: dict[str, Store]) -> None:
        """Remove images whose files have changed or gone since an interrupted call."""
        stale = journal.stale(self.items)
        for role, store in stores.items():
            store.remove(record.key for line in stale for record in line.records.get(role, ()))
        journal.forget(line.key for line in stale)

    def _process_all(self, journal: Journal, stores: dict[str, Store], jobs: int) -> None:
        todo = [item for item in self.items if not journal.has(item)]
        # A process takes a moment to start: small sets need few.
        jobs = min(jobs, max(1, len(todo) // 4))
        problems: list[str] = []
        with (
            _Batches(journal, stores) as batches,
            tqdm(
                total=len(self.items),
                initial=len(self.items) - len(todo),
                desc=self.name,
                unit="image",
                **bar_options(),
            ) as progress,
        ):
            for item, processed in zip(todo, ordered_map(partial(process, job=self.job), todo, jobs), strict=True):
                problems += processed.problems
                if not processed.problems:
                    batches.add(item, processed)
                progress.update()
        if problems:
            problems.append(f"{self.name}: {len(journal)} of {len(self.items)} images are kept for the next call")
            raise InputError("\n".join(problems))

    def _finish(self, output: Output, journal: Journal, store: Store, notes: dict[str, list[str]]) -> None:
        """Read every entry back, then write the manifest."""

        def records() -> Iterator[Record]:
            return chain.from_iterable(line.records.get(output.role, ()) for line in journal)

        count, size = 0, 0
        checked = tqdm(
            records(), desc=f"verify {output.path}", total=len(store), unit="entry", **bar_options(leave=False)
        )
        for record in checked:
            count += 1
            content = store.get(record.key)
            if content is None or hashlib.sha256(content).hexdigest() != record.sha256:
                raise DamagedStoreError(f"{store.path}: entry {record.key} is not what was written; check the disk")
            size += len(content)
            if size >= BYTES_A_COMMIT:
                store.release()
                size = 0
        if count != len(store):
            raise DamagedStoreError(f"{store.path}: {len(store)} entries where {count} were written; check the disk")
        if isinstance(store, LmdbStore):
            store.write_meta_info((record.key, record.size, self.job.compress_level) for record in records())
        write_manifest(store.path, self.header(output, count, notes), records())

    def _publish(self, output: Output) -> None:
        """Give an output its final name; a previous one is removed."""
        path = self.out / output.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.rename(self.folder / f"{output.role}.replaced")
        self._unfinished(output).rename(path)
        header = read_header(path)
        assert header is not None  # noqa: S101  it was just written
        size = sum(file.stat().st_size for file in path.iterdir())
        what = "entries" if output.is_lmdb else "files"
        print(f"{path}: {header.entries} {what} from {header.images} images, {readable(size)}")


class _Batches:
    """Results collected until there are enough to write."""

    def __init__(self, journal: Journal, stores: dict[str, Store]) -> None:
        self.journal, self.stores = journal, stores
        self.results: list[tuple[Item, Processed]] = []
        self.size, self.last = 0, time.monotonic()

    def __enter__(self) -> "_Batches":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After Ctrl-C too: nothing is processed twice.
        if kind in (None, KeyboardInterrupt):
            self.write()

    def add(self, item: Item, processed: Processed) -> None:
        self.results.append((item, processed))
        self.size += sum(len(content) for entries in processed.entries.values() for _, content in entries)
        if self.size >= BYTES_A_COMMIT or time.monotonic() > self.last + SECONDS_A_COMMIT:
            self.write()

    def write(self) -> None:
        for role, store in self.stores.items():
            store.put(
                (record.key, content) for _, processed in self.results for record, content in processed.entries[role]
            )
        # Only now: an image in the journal is in every store.
        self.journal.add(self.results)
        self.results, self.size, self.last = [], 0, time.monotonic()


def _read_plan(folder: Path) -> object:
    try:
        return json.loads((folder / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _empty(folder: Path) -> None:
    """Remove everything that a call with another plan left, except our lock."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
