"""What is decided before processes start; test_training.py starts them."""

import dataclasses
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from helpers import run_basicsr, training_options

from ramit_model import basicsr_bridge, basicsr_changes
from ramit_model.basicsr_changes import Run
from ramit_model.commands import train_test as launch
from ramit_model.system.errors import InputError


@pytest.mark.parametrize(
    ("num_gpu", "present", "expected"), [("auto", 4, 1), ("auto", 1, "auto"), ("auto", 0, "auto"), (4, 4, 4)]
)
def test_one_process_takes_one_gpu(num_gpu, present: int, expected, monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: present)
    options = {"num_gpu": num_gpu}
    launch.choose_one_gpu(options)
    assert options["num_gpu"] == expected
    assert ("--nproc 4" in capsys.readouterr().out) is (num_gpu != expected)


@pytest.mark.parametrize(
    ("environment", "rank"), [({}, 0), ({"SLURM_PROCID": "3"}, 3), ({"RANK": "2", "SLURM_PROCID": "0"}, 2)]
)
def test_rank(environment: dict[str, str], rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launch.rank() == rank


def test_one_run_of_a_name_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "ENDING", 0.1)
    with launch.lock("train", "mine"):
        with launch.lock("train", "another"), launch.lock("test", "mine"):
            pass
        with pytest.raises(InputError, match="experiments/mine: another basicsr train"), launch.lock("train", "mine"):
            pass
        monkeypatch.setenv("RANK", "1")  # the first of several processes has it for all
        with launch.lock("train", "mine"):
            pass
        monkeypatch.delenv("RANK")
    with launch.lock("train", "mine"):
        pass


def test_a_run_waits_for_one_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    ending = FileLock(tmp_path / "experiments/.mine.lock", thread_local=False)
    ending.acquire()
    timer = threading.Timer(0.3, ending.release)
    timer.start()
    with launch.lock("train", "mine"):
        assert not timer.is_alive() or not ending.is_locked
    timer.join()


@pytest.mark.parametrize(
    "message",
    [
        "[../third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:4321",
        "writev [127.0.0.1]:9: Connection reset by peer",
        "NCCL error: remote process exited or there was a network error",
        "[../gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 20000ms for recv operation to complete",
        "wait timeout after 60000ms, keys: /default_pg/0//store_based_barrier_key:1",
        "sendBytes failed on SocketImpl(fd=3): Broken pipe",
    ],
)
def test_a_process_whose_peer_has_ended_says_so(message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pipeline(_: str) -> None:
        raise RuntimeError(message)

    monkeypatch.chdir(tmp_path)
    for name in ("let_workers_share_imports", "stop_with_launcher"):
        monkeypatch.setattr(launch, name, lambda: None)  # they last as long as the process
    monkeypatch.setattr(basicsr_bridge, "change", lambda _: None)
    monkeypatch.setattr(basicsr_changes, "_runs", [])
    monkeypatch.setattr(basicsr_bridge, "train_pipeline", pipeline)
    run = Run({"name": "x", "num_gpu": 0}, "x.yml", "pytorch", False, False, False)
    with pytest.raises(InputError, match="another process of this run has ended"):
        launch.run_pipeline("train", run)
    # Alone, it would be another fault.
    with pytest.raises(RuntimeError, match=re.escape(message)):
        launch.run_pipeline("train", dataclasses.replace(run, launcher="none"))


def test_a_second_training_of_a_name(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    path = write_options(training_options(pairs))
    (tmp_path / "experiments").mkdir()
    with FileLock(tmp_path / "experiments/.tiny.lock"):
        refused = run_basicsr("train", "-opt", path, cwd=tmp_path)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert (
        line == "basicsr train: experiments/tiny: another basicsr train is writing there; wait, or choose another name"
    )
    assert not (tmp_path / "experiments/tiny").exists()
    assert run_basicsr("train", "-opt", path, cwd=tmp_path).returncode == 0
