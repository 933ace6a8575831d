"""What `basicsr restore` says meanwhile where there is no terminal."""

import io
from pathlib import Path, PurePath

import pytest

from ramit_model.commands import restore_progress
from ramit_model.commands.restore_progress import LINE_EVERY, ProgressReport
from ramit_model.inference.batch.jobs import Job


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.delenv("RANK", raising=False)
    clock = Clock()
    monkeypatch.setattr(restore_progress, "time", clock)
    return clock


def test_a_line_now_and_then(clock: Clock) -> None:
    stream, job = io.StringIO(), Job(Path("a.png"), Path("out/a.png"), PurePath("a.png"))
    with ProgressReport(4, skipped=0, where=Path("out"), stream=stream) as report:
        clock.now += LINE_EVERY - 1
        report.progress(0.5)
        assert stream.getvalue() == ""
        clock.now += 1
        report.progress(0.5)
        report.progress(0.6)  # not again
        report.processed(3_000_000)
        clock.now += LINE_EVERY
        report.written(job)
    assert stream.getvalue().splitlines() == [
        "basicsr restore: 0 of 4 (12%), about 7 min 0 s left",
        "basicsr restore: 1 of 4 (25%), 0.025 MP/s, about 6 min 0 s left",
    ]


def test_a_large_picture_shows_life(clock: Clock) -> None:
    """Of one alone, too, and before anything is known."""
    stream = io.StringIO()
    with ProgressReport(1, skipped=0, where=Path("out"), stream=stream) as report:
        for share in (0.0, 0.25, 1.0):
            clock.now += LINE_EVERY
            report.progress(share)
    assert stream.getvalue().splitlines() == [
        "basicsr restore: 0 of 1 (0%)",
        "basicsr restore: 0 of 1 (25%), about 6 min 0 s left",
        "basicsr restore: 0 of 1 (100%), about 0.0 s left",
    ]
