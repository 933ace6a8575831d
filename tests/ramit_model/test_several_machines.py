"""A training on several machines: two launchers that meet, and one machine that is lost."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from helpers import run_basicsr, training_options

PATIENCE = 240


def parent(process: Path) -> int:
    """Number of the parent of a process, which may have ended."""
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def with_descendants(process: int) -> list[int]:
    """Numbers of a process and of all that it and those have started."""
    parents = {int(each.name): parent(each) for each in Path("/proc").iterdir() if each.name.isdecimal()}
    found = [process]
    for each in found:
        found += [child for child, its_parent in parents.items() if its_parent == each]
    return found


class Machine:
    """`basicsr train` with one process, whose launcher meets that of another machine.

    Args:
        folder: Folder to start it in.
        name: Name of its log.
        port: Port of the launcher that starts first.
        options: Option file.
    """

    def __init__(self, folder: Path, name: str, port: int, options: Path) -> None:
        self.log, self.port = folder / f"{name}.txt", port
        meet = ["--nproc=1", "--nnodes=1:2", "--max-restarts=2", f"--rdzv-endpoint=127.0.0.1:{port}"]
        local = ["--local-addr=127.0.0.1", "--rdzv-conf=last_call_timeout=3,keep_alive_interval=1"]
        command = [sys.executable, "-m", "ramit_model", "train", "-opt", str(options), "--auto_resume", *meet, *local]
        # As under Slurm, with one launcher on each machine.
        variables = {"OMP_NUM_THREADS": "1", "SLURM_NTASKS": "2", "SLURM_PROCID": str(int(name != "first"))}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log, env={**os.environ, **variables}
            )

    def kill(self) -> None:
        """End everything on this machine at once, as a power cut does."""
        for number in with_descendants(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        self.process.wait()

    def listens(self) -> bool:
        """Whether others can meet its launcher."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def said(self) -> str:
        return self.log.read_text(errors="replace")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str, Path], Machine]]:
    """Function that starts a machine; what still runs after the test is killed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    machines: list[Machine] = []

    def start_one(name: str, options: Path) -> Machine:
        machines.append(Machine(tmp_path, name, port, options))
        return machines[-1]

    yield start_one
    for machine in machines:
        if machine.process.poll() is None:
            machine.kill()


def wait(condition: Callable[[], bool], machine: Machine) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert machine.process.poll() is None, machine.said()
        assert time.monotonic() < end, machine.said()
        time.sleep(0.05)


def losses(experiment: Path) -> dict[int, float]:
    with (experiment / "training.csv").open() as file:
        return {int(row["iteration"]): float(row["l_pix"]) for row in csv.DictReader(file)}


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to kill all processes of a machine")
def test_a_machine_is_lost(
    pairs: Path, tmp_path: Path, write_options: Callable[..., Path], start: Callable[[str, Path], Machine]
) -> None:
    """The other one goes on by itself, from the newest checkpoint, with the whole batch and the same patches."""
    options = training_options(pairs)
    options["train"]["total_iter"] = 40
    options["logger"] |= {"save_checkpoint_freq": 4}
    path = write_options(options)
    first = start("first", path)
    wait(first.listens, first)
    second = start("second", path)
    experiment = tmp_path / "experiments/tiny"
    wait((experiment / "training_states/4.state").is_file, first)
    second.kill()
    assert first.process.wait(PATIENCE) == 0, first.said()

    said = first.said()
    assert "Traceback" not in said
    assert "[c10d]" not in said  # PyTorch's log in C++
    assert "frame #" not in said
    assert "on the CPU (2 processes, 1 thread each, " in said
    assert (
        said.count("another process of this run has ended, or does not answer; the launcher starts all of them again\n")
        == 1
    )
    assert "processes: 1 instead of 2; 4 patches each, so that an iteration has 4 as before\n" in said
    assert said.count("going on from iteration ") == 1
    assert "Set pretrain_network_g" not in said
    assert (experiment / "models/net_g_40.pth").is_file()

    force = ["--force_yml", "name=whole", "datasets:train:batch_size_per_gpu=4"]
    whole = run_basicsr("train", "-opt", path, *force, cwd=tmp_path, env={"OMP_NUM_THREADS": "1"})
    assert whole.returncode == 0, whole.stderr
    expected = losses(tmp_path / "experiments/whole")
    assert losses(experiment) == pytest.approx(expected, rel=1e-2)
    assert list(losses(experiment)) == list(range(1, 41))
    assert losses(experiment)[1] == pytest.approx(expected[1], rel=1e-5)
