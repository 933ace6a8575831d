"""Prepares a family: from sources to checked, complete LMDBs or folders."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from datasets_prep.estimate import readable, require_space, space_needed
from datasets_prep.families import OWN, Family
from datasets_prep.gathering import gather
from datasets_prep.headers import claimed_size
from datasets_prep.image_files import Treatment, decode
from datasets_prep.image_formats import ImageError
from datasets_prep.manifest import Header, read_header
from datasets_prep.own_images import own_items
from datasets_prep.processing import WRONG_PAIR, Job, Output, role_scale, size_problem
from datasets_prep.sources import Member, look_into, needs_unpacking, read, unpack
from datasets_prep.writing import UNFINISHED, Writing
from ramit_model.system.errors import InputError
from ramit_model.system.image_names import left_out
from ramit_model.system.occasional import bar_options
from ramit_model.system.text import printable

HEADER_BYTES = 2**16
"""Bytes at the start of a file that are enough to tell its size in pixels."""


@dataclass(frozen=True)
class Settings:
    """Settings from the command line beside family, sources and target.

    Attributes:
        scales: Scales of super-resolution to prepare; none for other families.
        compress_level: Compression level of the PNGs, 0 (fast, large) to 9 (slow, small).
        jobs: Number of processes; None for one a core.
        force: Replace existing outputs.
        incomplete: Accept fewer images than published.
        pair_scale: Size of ground truth over that of given LQ images.
        key: Regular expression that finds what GT and LQ names of the user's own images have in common.
    """

    scales: tuple[int, ...] = ()
    compress_level: int = 1
    jobs: int | None = None
    force: bool = False
    incomplete: bool = False
    pair_scale: int = 1
    key: str | None = None


def prepare(family: Family, sources: Sequence[tuple[str, Path]], out: Path, settings: Settings) -> None:
    """Prepare all outputs of `family`; those that exist already, with the same settings, are left alone.

    Interrupted at any moment, the same call goes on where it stopped.

    Args:
        family: Family to prepare.
        sources: Label (role, collection or "") and path of each folder or archive.
        out: Folder of data sets.
        settings: Settings from the command line.

    Raises:
        InputError: A line for each mistake in the sources, or the one reason why nothing can be prepared.
        OSError: The target cannot be written.
    """
    base = out if family.name == OWN else out / family.name
    for path in (base, *base.parents):
        if os.path.lexists(path) and not path.is_dir():
            what = "a link that leads nowhere" if path.is_symlink() else "a file"
            raise InputError(f"{path}: is {what}; choose another --out")
    with _unpacked(family, sources, base) as members:
        _Preparation(family, members, out, base / UNFINISHED, settings).run()


@contextmanager
def _unpacked(family: Family, sources: Sequence[tuple[str, Path]], base: Path) -> Iterator[dict[str, list[Member]]]:
    """Map labels to image files. Compressed tars, which can only be read from the start, are decompressed first."""
    folder, existed = base / f"{UNFINISHED}-archives", base.exists()
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
                listed = look_into(source, unpacked)
                members.setdefault(label, []).extend(listed.members)
                others = listed.unread if family.name != OWN else [*listed.unread, *listed.others]
                for remark in left_out(others):
                    print(f"{printable(source)}: {remark}", flush=True)
            except InputError as error:
                problems.append(str(error))
        if problems:
            raise InputError("\n".join(problems))
        yield members
    finally:
        # The next call needs them if this one had begun to write and was interrupted.
        if not (base / UNFINISHED).exists():
            shutil.rmtree(folder, ignore_errors=True)
            if not existed:
                with suppress(OSError):  # there are results in it
                    base.rmdir()


class _Preparation:
    """Call of `prepare`, after the sources were listed: decides what to write, and checks it before."""

    def __init__(
        self, family: Family, members: dict[str, list[Member]], out: Path, unfinished: Path, settings: Settings
    ) -> None:
        self.family, self.out, self.unfinished, self.settings = family, out, unfinished, settings
        roles = [role for role in family.outputs if not role.startswith("x") or int(role[1:]) in settings.scales]
        if family.name == OWN:
            (self.items, remarks), self.complete = own_items(members, key=settings.key), True
            for remark in remarks:
                print(f"{family.name}: {remark}", flush=True)
        else:
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
                print(f"{self.out / output.path}: exists already, left alone (--force prepares it again)")
            shutil.rmtree(self.unfinished, ignore_errors=True)

    def _prepare(self, job: Job) -> None:
        sizes = self._sizes(job)
        writing = Writing(self.family.name, self.items, job, self._header, self.unfinished, self.out)
        done = writing.images_done()
        space = space_needed(self.items, sizes, job)
        print(f"{self.family.name}: {self._amount()}, about {readable(space)}", flush=True)
        require_space(space * (1 - done / len(self.items)), self.unfinished, f"preparing {self.family.name}")
        writing.run(self.settings.jobs, resume=done > 0)

    def _is_wanted(self, output: Output) -> bool:
        """Whether the output does not exist yet, or is to be replaced.

        Raises:
            InputError: The existing one was prepared otherwise.
        """
        path = self.out / output.path
        if not path.exists() or self.settings.force:
            return True
        found, ours = read_header(path), self._header(output)
        choice = "choose another --out, or say --force to replace it"
        if found is None:
            raise InputError(f"{path}: exists already, and not from this command; {choice}")
        changed = [key for key, value in ours.made_with.items() if found.made_with.get(key) != value]
        if changed:
            raise InputError(f"{path}: exists already, with another {', '.join(changed)}; {choice}")
        if found.made_from != ours.made_from:
            raise InputError(
                f"{path}: exists already, from other images ({found.images} then, {ours.images} now); {choice}"
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
            made_with={**self.job.settings(), "scale": output.scale},
            made_from=made_from.hexdigest(),
            images=len(self.items),
            complete=self.complete,
            entries=entries,
            gt=None if output.role == "gt" else up + self.family.outputs["gt"],
            scale=output.scale,
            notes=notes or {},
        )

    def _amount(self) -> str:
        """Describe how many images were found, in a union also of each collection."""
        collections = self.family.collections
        found = f"{len(self.items):,}"
        if not self.complete:
            found += f" of {self.family.images:,}"
        found += " pairs" if "lq" in self.family.outputs else " images"
        if len(collections) == 1:
            return found
        counts = {c.name: sum(item.key.startswith(f"{c.name}_") for item in self.items) for c in collections}
        return f"{found} ({', '.join(f'{count:,} of {name}' for name, count in counts.items())})"

    def _sizes(self, job: Job) -> list[tuple[int, int]]:
        """Read height and width of every item's ground truth, from the headers of all files.

        Raises:
            InputError: A line for each file that is not an image or has the wrong size.
        """
        gt_sizes: list[tuple[int, int]] = []
        problems: list[str] = []
        wrong = 0
        for item in tqdm(self.items, desc="check sizes", unit="image", **bar_options(leave=False)):
            sizes: dict[str, tuple[int, int]] = {}
            for role, member in item.files.items():
                try:
                    sizes[role] = self._size(member)
                except ImageError as error:
                    problems.append(f"{member.where}: {error}")
                except InputError as error:
                    problems.append(str(error))
            problem = size_problem(item, sizes, job) if len(sizes) == len(item.files) else None
            problems += [problem] if problem else []
            wrong += 1 if problem and problem.endswith(WRONG_PAIR) else 0
            gt_sizes.append(sizes.get("gt", (0, 0)))
        if wrong == len(self.items) > 1:
            raise InputError(f"{problems[0]} So differ all {wrong:,} pairs: --scale is GT size over LQ size")
        if problems:
            raise InputError("\n".join(problems))
        return gt_sizes

    def _size(self, member: Member) -> tuple[int, int]:
        size = claimed_size(read(member, HEADER_BYTES), member.size)
        if size is None:  # decoding tells, or says why not
            height, width = decode(read(member), self.job.treatment).image.shape[:2]
            size = (height, width)
        return size
