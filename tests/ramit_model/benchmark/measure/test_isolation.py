"""Processes of their own: values as they come, errors as they were raised, nothing left behind."""

import logging
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from generators import fail, fail_with_a_function, kill_itself, leave, numbers, process_and_arguments, sleep, wait_for
from helpers import REPOSITORY, run_python, start_process, wait_until

from ramit_model.benchmark.measure.isolation import KilledError, isolated
from ramit_model.system.errors import InputError


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


def is_there(process: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")


def test_a_process_of_its_own() -> None:
    process, given = isolated(process_and_arguments, 1, "two", three=[3])
    assert process != os.getpid()
    assert given == ((1, "two"), {"three": [3]})


def test_values_come_when_they_are_there(tmp_path: Path) -> None:
    """The second one is held back until the first has been seen here."""
    values = isolated(wait_for, tmp_path / "go")
    assert next(values) == "first"
    (tmp_path / "go").touch()
    assert list(values) == ["second"]


def test_no_value_is_lost() -> None:
    assert list(isolated(numbers, 1000)) == list(range(1000))
    assert list(isolated(numbers, 0)) == []


@pytest.mark.parametrize(
    "error",
    [
        InputError("options.yml: scale: is missing; add it"),
        ValueError("no"),
        OSError(28, "No space left on device", "out/file"),
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_arrive(error: Exception, capfd: pytest.CaptureFixture[str]) -> None:
    values = isolated(fail, error)
    assert next(values) == 0
    with pytest.raises(type(error)) as caught:
        next(values)
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)
    assert getattr(caught.value, "filename", None) == getattr(error, "filename", None)
    # Nor is anything said about it but here.
    assert capfd.readouterr() == ("", "")


def test_a_killed_process() -> None:
    values = isolated(kill_itself)
    assert next(values) == 0
    with pytest.raises(KilledError, match="was killed"):
        next(values)


def test_a_process_that_ends_otherwise() -> None:
    """No want of memory."""
    values = isolated(leave, 5)
    assert next(values) == 0
    with pytest.raises(RuntimeError, match="code 5") as caught:
        next(values)
    assert not isinstance(caught.value, KilledError)


def test_an_error_that_cannot_travel() -> None:
    values = isolated(fail_with_a_function)
    assert next(values) == 0
    with pytest.raises(RuntimeError, match="ValueError: a message"):
        next(values)


@LINUX
def test_who_has_enough_ends_the_process() -> None:
    values = isolated(sleep, 600)
    process = next(values)
    assert is_there(process)
    started = time.monotonic()
    values.close()
    assert not is_there(process)
    assert time.monotonic() - started < 10


PARENT = """
import sys
sys.path[:0] = [{repository!r}, {support!r}]
from generators import sleep
from ramit_model.benchmark.measure.isolation import isolated

if __name__ == "__main__":
    try:
        for process in isolated(sleep, 600):
            print(process, flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that waits for another one, in a group of its own."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(repository=str(REPOSITORY), support=str(REPOSITORY / "tests/support")))
    process = start_process(script)
    yield process
    process.kill()
    process.communicate()


@LINUX
@pytest.mark.parametrize("end", ["Ctrl-C", "killed"])
def test_the_process_ends_with_its_parent(parent: "subprocess.Popen[str]", end: str) -> None:
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_there(child)
    if end == "killed":
        parent.kill()
        parent.wait()
    else:
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
        assert parent.communicate(timeout=30) == ("interrupted\n", "")
        assert parent.returncode == 0
    assert wait_until(lambda: not is_there(child))


def test_what_measures_is_quiet() -> None:
    said = run_python(
        "from ramit_model.benchmark.measure.isolation import prepare_process; prepare_process()\n"
        "import torch, warnings\n"
        "from basicsr.utils import get_root_logger\n"
        "from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY\n"
        "assert 'RAMiT' in ARCH_REGISTRY and 'RestorationModel' in MODEL_REGISTRY\n"
        "warnings.simplefilter('error', append=True)\n"
        "torch.meshgrid(torch.arange(2), torch.arange(2))\n"
        "get_root_logger().info('loading')\n"
        "print(get_root_logger().level)\n"
    )
    assert said.splitlines() == [str(logging.ERROR)]
