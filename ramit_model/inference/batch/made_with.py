"""Which weights made which results, noted in the output folder: results of others are not taken for these."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ramit_model.inference.batch.jobs import Job
from ramit_model.inference.published_weights import git_blob, named
from ramit_model.system.errors import InputError
from ramit_model.system.text import printable

NOTES = ".restored-with.jsonl"
"""Name of the file in the output folder; a line for each result."""


@dataclass(frozen=True)
class MadeWith:
    """Description of all that a result depends on beside its input.

    Attributes:
        weights: Name of the weights, as the user gave it.
        blob: Git blob id of the file.
        task: Task that the user gave; None: the weights tell it.
        self_ensemble: Whether flips and turns were averaged.
    """

    weights: str
    blob: str
    task: str | None
    self_ensemble: bool

    def gives_the_same(self, other: "MadeWith") -> bool:
        """Whether a result of the other is one of this."""
        same_task = self.task is None or other.task is None or self.task == other.task
        return same_task and (self.blob, self.self_ensemble) == (other.blob, other.self_ensemble)


def made_with(weights: str, task: str | None, self_ensemble: bool) -> MadeWith | None:
    """Describe what the results of a command depend on; None where the weights are not at hand."""
    path = Path(weights).expanduser()
    try:
        blob = git_blob(path.read_bytes())
    except OSError:
        published = named(weights)
        if published is None:
            return None
        blob = published.git_blob
    return MadeWith(path.name, blob, task, self_ensemble)


def check_made_with(folder: Path, jobs: Sequence[Job], now: MadeWith) -> None:
    """Refuse to skip results that were made with something else. Results that no note is about are not questioned.

    Raises:
        InputError: There is one.
    """
    notes = dict(_read(folder))
    others = [job for job in jobs if (was := notes.get(str(job.place))) and not now.gives_the_same(was)]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        was = notes[str(others[0].place)]
        how = was.weights + (f" as {was.task}" if was.task else "") + (", self-ensemble" if was.self_ensemble else "")
        raise InputError(
            f"{printable(others[0].output)}{more}: made with other weights or another setting ({printable(how)}); add "
            "--overwrite to restore again, or give another folder with -o"
        )


def note_made_with(folder: Path, job: Job, now: MadeWith) -> None:
    """Note what made a result that has just been written. Several processes may do so at once.

    Raises:
        OSError: The note cannot be written.
    """
    line = json.dumps({"place": str(job.place), **asdict(now)}) + "\n"
    # One write to the end of the file, which does not mix with those of other processes.
    file = os.open(folder / NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def _read(folder: Path) -> Iterator[tuple[str, MadeWith]]:
    """Notes of a folder in order; lines that are none are passed over."""
    try:
        content = (folder / NOTES).read_bytes()
    except OSError:
        return
    for line in content.splitlines():
        try:
            note: dict[str, Any] = json.loads(line)
            place, made = str(note.pop("place")), MadeWith(**note)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue
        if isinstance(made.weights, str) and isinstance(made.task, str | None):
            yield place, made
