"""Notes of which weights made which results."""

from dataclasses import replace
from pathlib import Path, PurePath

import pytest

from ramit_model.inference.batch.jobs import Job
from ramit_model.inference.batch.made_with import (
    NOTES,
    MadeWith,
    check_made_with,
    made_with,
    note_made_with,
)
from ramit_model.inference.published_weights import by_name
from ramit_model.system.errors import InputError

ONE = MadeWith("one.pth", "a" * 40, None, False)
TWO = MadeWith("two.pth", "b" * 40, None, False)


def job(name: str) -> Job:
    return Job(Path("photos", name), Path("out", name), PurePath(name))


def test_results_of_other_weights_are_named(tmp_path: Path) -> None:
    jobs = [job(name) for name in ("a.png", "b\udcff.png", "c.png")]
    for each in jobs[:2]:
        note_made_with(tmp_path, each, ONE)
    check_made_with(tmp_path, jobs, ONE)
    with pytest.raises(InputError, match=r"^out/a\.png and 1 more: .*\(one\.pth\); add --overwrite"):
        check_made_with(tmp_path, jobs, TWO)
    check_made_with(tmp_path, jobs[2:], TWO)  # nothing is known of it
    for each in jobs:
        note_made_with(tmp_path, each, TWO)
    check_made_with(tmp_path, jobs, TWO)  # the last note counts
    with pytest.raises(InputError, match="and 2 more"):
        check_made_with(tmp_path, jobs, ONE)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"weights": "renamed.pth"}, True),
        ({"task": "CDN"}, True),
        ({"self_ensemble": True}, False),
        ({"blob": "c" * 40}, False),
    ],
)
def test_what_makes_a_difference(change: dict[str, object], same: bool) -> None:
    assert ONE.gives_the_same(replace(ONE, **change)) is same  # type: ignore[arg-type]
    assert replace(ONE, task="DR").gives_the_same(replace(ONE, task="CDN")) is False


def test_broken_notes_are_passed_over(tmp_path: Path) -> None:
    note_made_with(tmp_path, job("a.png"), ONE)
    with (tmp_path / NOTES).open("ab") as file:
        file.write(b'[1]\n{"place": "b.png"}\n\xff\n' + b"[" * 100_000 + b"\n")
        file.write(b'{"place": "b.png", "weights": 1, "blob": 2, "task": [], "self_ensemble": 3}\n{"place": "c.p')
    with pytest.raises(InputError, match=r"out/a\.png: made"):
        check_made_with(tmp_path, [job("a.png"), job("b.png"), job("c.png")], TWO)


def test_a_name_is_the_published_file(tmp_path: Path) -> None:
    entry = by_name("RAMiT-1_X2.pth")
    found = made_with("ramit-1_x2", None, False)
    assert found is not None
    assert found.blob == entry.git_blob
    assert made_with("nowhere.pth", None, False) is None
    (tmp_path / "w.pth").write_bytes(b"")
    assert made_with(str(tmp_path / "w.pth"), "DR", True) == MadeWith(
        "w.pth", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391", "DR", True
    )
