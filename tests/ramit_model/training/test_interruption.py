"""SIGTERM and Ctrl-C: a checkpoint within seconds, and a training that goes on as if nothing had happened."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import changed, children, run_basicsr, start_process, training_options

from ramit_model.commands.train_test import describe_stop
from ramit_model.system.processes import leave_stopping_to_parent, stop_signals_blocked
from ramit_model.training.interruption import SAME, Interruption, StoppedError

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""What every process here has: sums over another number of threads differ in the last digit."""


def long_training(pairs: Path) -> dict[str, Any]:
    """Options of a training of many short iterations that saves no checkpoint by itself."""
    options = training_options(pairs)
    options["datasets"]["train"]["num_worker_per_gpu"] = 1
    options["train"]["total_iter"] = 60
    options["logger"]["save_checkpoint_freq"] = 1000
    return changed(options, "val.val_freq", 25)


def stop(process: "subprocess.Popen[str]", send: Callable[["subprocess.Popen[str]"], None]) -> tuple[int, str]:
    """Send signals to a training that has begun; returns its exit code and the rest of its stderr."""
    assert process.stderr is not None
    for line in process.stderr:
        if re.match(r"\d+ of 60: ", line):
            break
    send(process)
    _, stderr = process.communicate(timeout=240)
    return process.returncode, stderr


def test_a_stopped_training_goes_on_bit_for_bit(
    pairs: Path, tmp_path: Path, write_options: Callable[..., Path]
) -> None:
    path = write_options(long_training(pairs))
    process = start_process("-m", "ramit_model", "train", "-opt", path, cwd=tmp_path, **ONE_THREAD)

    def to_the_group_twice(process: "subprocess.Popen[str]") -> None:
        for _ in range(2):  # as timeout and others do
            os.killpg(process.pid, signal.SIGTERM)

    code, stderr = stop(process, to_the_group_twice)
    assert code == 143
    assert "Traceback" not in stderr
    [iteration] = re.findall(r"basicsr train: stopped by SIGTERM; saved at iteration (\d+) .*--auto_resume\n", stderr)
    states = tmp_path / "experiments/tiny/training_states"
    assert [state.name for state in states.iterdir()] == [f"{iteration}.state"]

    resumed = run_basicsr("train", "-opt", path, "--auto_resume", cwd=tmp_path, env=ONE_THREAD)
    assert f"going on from iteration {iteration}\n" in resumed.stderr
    whole = run_basicsr("train", "-opt", path, "--force_yml", "name=whole", cwd=tmp_path, env=ONE_THREAD)
    assert whole.returncode == resumed.returncode == 0
    ours, undisturbed = (
        torch.load(tmp_path / f"experiments/{name}/models/net_g_latest.pth", weights_only=True)["params"]
        for name in ("tiny", "whole")
    )
    torch.testing.assert_close(ours, undisturbed, rtol=0, atol=0)
    tables = [(tmp_path / f"experiments/{name}/validation.csv").read_text() for name in ("tiny", "whole")]
    assert tables[0] == tables[1]


def to_one(process: "subprocess.Popen[str]") -> None:
    """Stop the second of two processes alone."""
    own = [pid for pid in children(process.pid) if b"ramit_model\0train" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    second = [pid for pid in own if b"\0RANK=1\0" in b"\0" + Path(f"/proc/{pid}/environ").read_bytes()]
    os.kill(max(second, key=lambda pid: -pid), signal.SIGTERM)


@pytest.mark.parametrize(
    ("send", "code"),
    [
        (lambda process: os.killpg(process.pid, signal.SIGINT), 130),
        (to_one, 143),
        (lambda process: process.kill(), -signal.SIGKILL),
    ],
    ids=["Ctrl-C", "one of them", "the launcher is killed"],
)
def test_processes_agree_where_they_stop(
    send: Any, code: int, pairs: Path, tmp_path: Path, write_options: Callable[..., Path]
) -> None:
    path = write_options(long_training(pairs))
    process = start_process(*("-m", "ramit_model", "train", "-opt", path, "--nproc", "2"), cwd=tmp_path, **ONE_THREAD)
    ended, stderr = stop(process, send)
    assert ended == code
    assert "Traceback" not in stderr
    [iteration] = re.findall(r"saved at iteration (\d+)", stderr)
    state = torch.load(tmp_path / f"experiments/tiny/training_states/{iteration}.state", weights_only=True)
    assert state["iter"] == int(iteration)
    assert len(state["generators"]) == 2


def test_signals_are_noted_and_a_later_one_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    interruption = Interruption()
    ctrl_c = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
    with interruption.listening():
        assert interruption.agreed() is None
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)  # the same one, told twice
        assert interruption.agreed() == signal.SIGTERM
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + SAME + 0.1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before
    signal.signal(signal.SIGINT, ctrl_c)


def test_signals_that_are_ignored_stay_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts what runs in the background
    try:
        with Interruption().listening():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_reading_processes_outlive_a_signal_to_the_group() -> None:
    with stop_signals_blocked():
        child = os.fork()
        if child == 0:
            leave_stopping_to_parent()
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), number)
            os._exit(7 if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL else 8)
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_signals_are_left_alone_outside_the_main_thread() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def listen() -> None:
        with Interruption().listening():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [before]


def test_the_last_line_says_what_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert describe_stop(StoppedError(signal.SIGTERM, None), "x").endswith(
        "before the first iteration; nothing is saved"
    )
    states = Path("experiments/x/training_states")
    states.mkdir(parents=True)
    (states / "7.state").touch()
    assert "saved at iteration 7 (experiments/x/" in describe_stop(StoppedError(signal.SIGTERM, 7), "x")
    assert "nothing new after 7.state" in describe_stop(StoppedError(signal.SIGINT, None), "x")
