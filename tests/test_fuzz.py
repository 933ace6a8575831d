"""Hostile input, a little of each kind; `tests/fuzz.py` tries more, for as long as one likes."""

import mmap
import os
import pickle
from pathlib import Path
from typing import Any

import fuzz_guard
import pytest
from fuzz_guard import Finding, trip, watched
from fuzz_targets import Target, make_targets
from fuzzing import fuzz

from ramit_model.system.errors import InputError

EXAMPLES = 20
TARGETS = (
    *("options", "yaml", "force-yml", "benchmark-options", "lists", "pictures", "image-headers", "zips", "tars"),
    *("pth", "states", "safetensors", "manifests", "journals", "measurements"),
)


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return make_targets(tmp_path_factory.mktemp("fuzz"))


def test_all_targets_are_tried(targets: dict[str, Target]) -> None:
    assert targets.keys() == set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.usefixtures("one_thread")
def test_hostile_input(name: str, targets: dict[str, Target]) -> None:
    outcome = fuzz(targets[name], examples=EXAMPLES)
    assert not outcome.findings, outcome.findings
    assert outcome.runs >= EXAMPLES // 2


def spin() -> None:
    while True:
        pass


def fill_memory() -> None:
    size = 64 * 2**20
    with mmap.mmap(-1, size) as memory:  # not from the heap, which may have as much to spare
        memory.write(b"x" * size)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (lambda folder: list(folder.iterdir()).pop(), "IndexError in test_fuzz.py:<lambda>"),
        (lambda folder: pickle.loads(pickle.dumps(trip)), "forbidden: pickle.find_class"),
        (lambda folder: os.system("true"), "forbidden: os.system"),
        (lambda folder: (folder.parent / "outside").write_text("x"), "forbidden: open"),
        (lambda folder: (folder.parent / "outside").unlink(missing_ok=True), "forbidden: os.remove"),
        (lambda folder: fill_memory(), "memory"),
        (lambda folder: spin(), "hang in test_fuzz.py:spin"),
    ],
)
def test_the_guard_finds(body: Any, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_guard, "SECONDS", 0.2)
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(Finding) as caught, watched(folder, (InputError,), 32 * 2**20, lines=False):
        body(folder)
    assert caught.value.kind == kind


def test_the_guard_lets_pass_what_is_allowed(tmp_path: Path) -> None:
    with watched(tmp_path, (InputError,), 2**25, lines=False):
        (tmp_path / "x").write_text("x")
        raise InputError("one line")
    with pytest.raises(Finding, match="not one line"), watched(tmp_path, (InputError,), 2**25, lines=False):
        raise InputError("two\nlines")
