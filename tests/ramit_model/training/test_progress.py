"""The progress line: BasicSR's form, the right time to the end; TensorBoard's scalars."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from basicsr.utils import MessageLogger
from helpers import training_options

from ramit_model.training.progress import ProgressLogger


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("ramit_model.training.progress.time", clock)
    return clock


@pytest.fixture
def line(log: list[logging.LogRecord]) -> Callable[[], str]:
    """The last line that was logged."""

    def last() -> str:
        return log[-1].getMessage()

    return last


def options(pairs: Path, total: int = 100, **changes: Any) -> dict[str, Any]:
    options = training_options(pairs, **{"world_size": 1, **changes})
    options["train"]["total_iter"] = total
    return options


def values(iteration: int, **changes: Any) -> dict[str, Any]:
    """What BasicSR's loop hands over."""
    given = {"epoch": 0, "iter": iteration, "lrs": [0.001], "time": 0.25, "data_time": 0.0125, "l_pix": 0.0625}
    return {**given, **changes}


def eta(line: str) -> str:
    return re.search(r"\[eta: (.*?), time", line)[1]


def seconds(line: str) -> int:
    hours, minutes, rest = map(int, re.fullmatch(r"(\d+):(\d\d):(\d\d)", eta(line)).groups())
    return 3600 * hours + 60 * minutes + rest


# The line -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("iteration", [1, 50, 100, 1_234_567])
@pytest.mark.parametrize("rates", [[0.001], [4e-4, 1.25e-5]])
def test_the_line_is_basicsrs(pairs: Path, line: Callable[[], str], iteration: int, rates: list[float]) -> None:
    """But for the time to the end."""
    given = options(pairs, total=2_000_000)
    log_vars = values(iteration, lrs=rates, epoch=7, l_percep=123.456, l_style=0.0)
    MessageLogger(given, 1)(dict(log_vars))
    theirs = line()
    ProgressLogger(given)(dict(log_vars))
    own = line()
    for text in (own, theirs):
        assert f"iter:{iteration:8,d}, lr:(" in text
    masked = [re.sub(r"eta: .*?, time", "eta: -, time", text).rstrip() for text in (own, theirs)]
    assert masked[0] == masked[1]


def test_the_line_in_full(pairs: Path, line: Callable[[], str], clock: Clock) -> None:
    progress = ProgressLogger(options(pairs, name="train_RAMiT_x2"), 0)
    clock.now += 30
    progress(values(10, lrs=[4e-4]))
    assert line() == (
        "[train..][epoch:  0, iter:      10, lr:(4.000e-04,)] [eta: 0:04:30, time (data): 0.250 (0.013)] "
        "l_pix: 6.2500e-02"
    )


def test_a_line_without_times_and_losses(pairs: Path, line: Callable[[], str]) -> None:
    ProgressLogger(options(pairs))({"epoch": 2, "iter": 3, "lrs": [0.001]})
    assert "[epoch:  2, iter:       3, lr:(1.000e-03,)]" in line()


def test_epochs_are_passes_over_the_images(pairs: Path, line: Callable[[], str]) -> None:
    """To BasicSR's loop, the whole run is epoch 0."""
    progress = ProgressLogger(options(pairs, train_images=9))
    expected = {1: 0, 4: 0, 5: 1, 8: 1, 9: 2, 45: 10}  # two patches an iteration
    for iteration, epoch in expected.items():
        progress(values(iteration))
        assert f"[epoch:{epoch:3d}, iter:{iteration:8,d}" in line()
    progress = ProgressLogger(options(pairs, train_images=9, world_size=3))
    progress(values(3))
    assert "[epoch:  2," in line()


def test_epochs_of_basicsrs_loader_stay(pairs: Path, line: Callable[[], str]) -> None:
    ProgressLogger(options(pairs))(values(5, epoch=4))
    assert "[epoch:  4," in line()


# The time to the end --------------------------------------------------------------------------------------------------


def test_a_steady_pace(pairs: Path, line: Callable[[], str], clock: Clock) -> None:
    progress = ProgressLogger(options(pairs, total=100))
    for iteration in range(1, 101):
        clock.now += 2
        progress(values(iteration))
        assert seconds(line()) == 2 * (100 - iteration)
    assert eta(line()) == "0:00:00"


def test_days(pairs: Path, line: Callable[[], str], clock: Clock) -> None:
    progress = ProgressLogger(options(pairs, total=500_000))
    clock.now += 50
    progress(values(100))
    assert eta(line()) == "2 days, 21:25:50"


def test_the_first_iteration_does_not_count(pairs: Path, line: Callable[[], str], clock: Clock) -> None:
    progress = ProgressLogger(options(pairs, total=100))
    clock.now += 500
    progress.reset_start_time()
    progress(values(1))
    assert eta(line()) == "?"
    clock.now += 20
    progress(values(11))
    assert seconds(line()) == 2 * 89


def test_a_resumed_training_has_its_own_pace(pairs: Path, line: Callable[[], str], clock: Clock) -> None:
    progress = ProgressLogger(options(pairs, total=500), 400)
    progress(values(400))
    assert eta(line()) == "?"
    clock.now += 30
    progress(values(410))
    assert seconds(line()) == 3 * 90
    clock.now += 90 * 3
    progress(values(500))
    assert eta(line()) == "0:00:00"


def test_validations_count(pairs: Path, line: Callable[[], str], clock: Clock) -> None:
    """Ten iterations of a second and a validation of ten seconds: the rest takes two seconds each."""
    progress = ProgressLogger(options(pairs, total=100))
    clock.now += 10 + 10
    progress(values(10))
    assert seconds(line()) == 2 * 90


@pytest.mark.parametrize("start", [0, 17])
def test_never_negative(pairs: Path, line: Callable[[], str], clock: Clock, start: int) -> None:
    progress = ProgressLogger(options(pairs, total=40), start)
    for iteration in range(start + 1, 41):
        clock.now += (0.0, 0.001, 7.3, 250.0)[iteration % 4]
        if iteration == 1:
            progress.reset_start_time()
        progress(values(iteration))
        if eta(line()) != "?":
            assert seconds(line()) >= 0
    assert eta(line()) == "0:00:00"


# TensorBoard ----------------------------------------------------------------------------------------------------------


class Writer:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.scalars: list[tuple[str, float, int]] = []

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))


def logger_block(use: bool | None) -> dict[str, Any]:
    return {"print_freq": 1, "save_checkpoint_freq": 4, **({} if use is None else {"use_tb_logger": use})}


def test_scalars(pairs: Path) -> None:
    writer = Writer()
    progress = ProgressLogger(options(pairs, logger=logger_block(True)), 0, writer)
    progress(values(12, lrs=[4e-4, 1e-4], gradient=2.0))
    assert {name: value for name, value, _ in writer.scalars} == {
        "losses/l_pix": 0.0625,
        "gradient": 2.0,
        "lr": 4e-4,
        "time": 0.25,
        "data_time": 0.0125,
    }
    assert len(writer.scalars) == 5
    assert {step for _, _, step in writer.scalars} == {12}


def test_skipped_iterations_are_counted(pairs: Path, line: Callable[[], str]) -> None:
    """As a whole number, on the line and in TensorBoard."""
    writer = Writer()
    ProgressLogger(options(pairs, logger=logger_block(True)), 0, writer)(values(12, skipped=3))
    assert line().endswith("l_pix: 6.2500e-02 skipped: 3")
    assert ("skipped", 3, 12) in writer.scalars


def test_losses_have_basicsrs_names(pairs: Path) -> None:
    theirs, own = Writer(), Writer()
    given = options(pairs, logger=logger_block(True))
    log_vars = values(3, l_percep=0.5, other=0.25)
    MessageLogger(given, 1, theirs)(dict(log_vars))
    ProgressLogger(given, 0, own)(dict(log_vars))
    assert set(theirs.scalars) <= set(own.scalars)
    assert len(theirs.scalars) == 3


@pytest.mark.parametrize("use", [False, None])
def test_no_tensorboard(pairs: Path, use: bool | None) -> None:
    writer = SimpleNamespace()  # has no add_scalar
    ProgressLogger(options(pairs, logger=logger_block(use)), 0, writer)(values(1))
    ProgressLogger(options(pairs, logger=logger_block(True)), 0, None)(values(1))
