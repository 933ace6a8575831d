"""Work in several processes: as `map` does it, in bounded memory, and no process outlives its parent."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from helpers import children, start_process, wait_until
from tasks import end_at_three, fail_at_three, square

from ramit_model.system.errors import InputError
from ramit_model.system.processes import LAUNCHER, WAITING, available_cores, ordered_map

LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="children are found in /proc")


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 30])
def test_results_are_in_order(jobs: int, count: int) -> None:
    assert list(ordered_map(square, iter(range(count)), jobs)) == [i * i for i in range(count)]


def test_one_job_is_done_in_this_process() -> None:
    seen: list[int] = []
    results = ordered_map(seen.append, range(3), 1)  # no process could append here
    assert seen == []
    next(results)
    assert seen == [0]
    assert list(results) == [None, None]


@pytest.mark.parametrize("jobs", [1, 2])
def test_few_tasks_are_taken_ahead(jobs: int) -> None:
    taken = 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        while taken < 40:
            taken += 1
            yield taken

    for done, _ in enumerate(ordered_map(square, tasks(), jobs), 1):
        time.sleep(0.005)
        assert taken - done < WAITING * jobs
    assert taken == 40


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_exception_travels_after_the_results_before_it(jobs: int) -> None:
    results = []
    with pytest.raises(InputError, match="a: is broken; mend it\nb: too"):
        for result in ordered_map(fail_at_three, range(9), jobs):
            results.append(result)
    assert results == [0, 1, 2]


def test_a_killed_worker_is_one_line() -> None:
    with pytest.raises(InputError, match=r"a process was killed, .*; run the same command with fewer --jobs") as caught:
        list(ordered_map(end_at_three, range(20), 2))
    assert len(str(caught.value).splitlines()) == 1


@LINUX
@pytest.mark.parametrize("end", ["exhausted", "left", "failed", "killed"])
def test_no_worker_is_left(end: str) -> None:
    before = children(os.getpid())
    function = {"failed": fail_at_three, "killed": end_at_three}.get(end, square)
    results = ordered_map(function, range(6), 2)
    try:
        next(results)
        if end == "left":
            results.close()  # type: ignore[attr-defined]
        list(results)
    except InputError:
        assert end in ("failed", "killed")
    # multiprocessing itself keeps one process, which tracks shared resources, to the end.
    assert wait_until(lambda: len(children(os.getpid()) - before) <= 1)


PARENT = """
import time
from ramit_model.system.processes import ordered_map
if __name__ == "__main__":
    try:
        for _ in ordered_map(time.sleep, [0.01] * 2 + [{pause}] * 1000, 2):
            print("works", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Callable[[float], "subprocess.Popen[str]"]]:
    """Starts a process that works in two others, in a group of its own."""
    started = []

    def start(pause: float) -> "subprocess.Popen[str]":
        script = tmp_path / "parent.py"
        script.write_text(PARENT.format(pause=pause))
        process = start_process(script)
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@LINUX
@pytest.mark.parametrize("pause", [0.01, 60])
def test_workers_end_when_their_parent_is_killed(
    parent: Callable[[float], "subprocess.Popen[str]"], pause: float
) -> None:
    process = parent(pause)
    assert process.stdout is not None
    process.stdout.readline()
    workers = children(process.pid)
    assert len(workers) >= 2
    process.kill()
    process.wait()
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 10)


@LINUX
@pytest.mark.parametrize("delay", [0, 0.1, 0.2, 1.5])
def test_an_interruption_reaches_the_parent_alone(
    parent: Callable[[float], "subprocess.Popen[str]"], delay: float
) -> None:
    process = parent(0.05)
    # From the very start of the workers on.
    assert wait_until(lambda: len(children(process.pid)) >= 2)
    workers = children(process.pid)
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert out.splitlines()[-1] == "interrupted"
    assert err == ""
    assert process.returncode == 0
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 10)


LAUNCHED = """
import time
from ramit_model.system.processes import stop_with_launcher
stop_with_launcher(look_every=0.05)
time.sleep(0.5)
print("goes on", flush=True)
"""


@pytest.mark.parametrize(
    ("launcher", "code", "said"),
    [(None, 0, "goes on\n"), (os.getpid(), 0, "goes on\n"), (2**22 + 1, -signal.SIGTERM, "")],
    ids=["another's", "ours", "ended before"],
)
def test_a_process_stops_without_its_launcher(launcher: int | None, code: int, said: str) -> None:
    """test_interruption.py kills the launcher of a training that has begun."""
    process = start_process("-c", LAUNCHED, **({} if launcher is None else {LAUNCHER: str(launcher)}))
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, said)


def test_cores_are_those_of_this_process() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
    if hasattr(os, "sched_setaffinity"):
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        try:
            assert available_cores() == 1
        finally:
            os.sched_setaffinity(0, before)


CHILD = """
import pathlib, signal, sys, time
def save(number, _):
    time.sleep(0.8)  # more than subprocess.run would wait
    pathlib.Path("saved").touch()
    sys.exit(128 + number)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, save)
pathlib.Path("ready").touch()
time.sleep(60)
"""
RUNS_A_CHILD = """
import pathlib, sys
from ramit_model.system.processes import run_child
try:
    sys.exit(run_child([sys.executable, "-c", pathlib.Path("child").read_text()], pathlib.Path.cwd()))
except KeyboardInterrupt:
    sys.exit(7)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 7), (signal.SIGTERM, 143)])
def test_a_child_has_time_to_save(number: int, code: int, tmp_path: Path) -> None:
    (tmp_path / "child").write_text(CHILD)
    process = start_process("-c", RUNS_A_CHILD, cwd=tmp_path)
    assert wait_until((tmp_path / "ready").exists, 60)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert (tmp_path / "saved").exists()
