"""Terminal output of a run, and what only its log file gets."""

import io
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import run_basicsr, testing_options, training_options

from ramit_model.training import terminal
from ramit_model.training.terminal import FILE_ONLY, ProgressLine, TerminalHandler, describe_schedule


@pytest.fixture
def handler() -> TerminalHandler:
    return TerminalHandler()


def record(path: str, function: str = "f", level: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("basicsr", level, path, 1, "text", None, None, function)
    made.__dict__.update(extra)
    return made


BASICSR = str(Path(sys.modules["basicsr"].__file__ or "").with_name("train.py"))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (record(BASICSR), False),
        (record(BASICSR, level=logging.WARNING), True),
        (record(BASICSR, level=logging.ERROR), True),
        (record(BASICSR, "_log_validation_metric_values"), True),
        (record("/home/somebody/my_model.py"), True),
        (record(terminal.__file__), True),
        (record(terminal.__file__, **FILE_ONLY), False),
        (record(terminal.__file__, level=logging.WARNING, **FILE_ONLY), True),
    ],
)
def test_what_is_for_the_terminal(given: logging.LogRecord, shown: bool, handler: TerminalHandler) -> None:
    assert bool(handler.filter(given)) is shown


def test_a_warning_of_basicsr_that_is_not_true_of_us(handler: TerminalHandler) -> None:
    source = Path(BASICSR).read_text()
    assert terminal.UNTRUE in source
    warning = record(BASICSR, level=logging.WARNING)
    warning.msg = terminal.UNTRUE
    assert not handler.filter(warning)


def test_a_warning_says_so(handler: TerminalHandler, capsys: pytest.CaptureFixture[str]) -> None:
    handler.handle(record(BASICSR, level=logging.WARNING))
    handler.handle(record("/x/y.py"))
    handler.handle(record(BASICSR))
    assert capsys.readouterr().err == "warning: text\ntext\n"


# Progress -------------------------------------------------------------------------------------------------------------


def test_in_a_file_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("ramit_model.training.terminal.time.monotonic", lambda: now[0])
    line = ProgressLine(2000, 0)
    for iteration in range(100, 2001, 100):
        now[0] += 10
        line.show(iteration, "loss 0.5")
    said = [text.partition(" of 2,000: loss 0.5")[0] for text in capsys.readouterr().err.splitlines()]
    assert said == ["100", "400", "700", "1,000", "1,300", "1,600", "1,900", "2,000"]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_line(monkeypatch: pytest.MonkeyPatch, handler: TerminalHandler) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with terminal.progress_line_removed():
        line = ProgressLine(2000, 500)
        line.show(600, "loss 0.5")
        line.show(700, "loss 0.4")
        handler.handle(record("/x/y.py"))
    said = screen.getvalue()
    assert "700 of 2000: loss 0.4" in said
    assert "text\n" in said
    assert said.count("\n") == 1  # the record; the progress line is replaced, and removed in the end
    assert said.endswith("\r")


# Descriptions ---------------------------------------------------------------------------------------------------------


def test_the_schedule(pairs: Path) -> None:
    train = training_options(pairs)["train"]
    assert describe_schedule(train) == "schedule: Adam, rate 0.001 after 2 of warm-up, times 0.5 after 6; L1Loss"
    train = {**train, "warmup_iter": -1, "scheduler": {"type": "CosineAnnealingRestartLR", "periods": [8]}}
    assert describe_schedule(train) == "schedule: Adam, rate 0.001, CosineAnnealingRestartLR; L1Loss"


# Whole runs -----------------------------------------------------------------------------------------------------------


def test_a_run_says_what_matters(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    trained = run_basicsr("train", "-opt", write_options(training_options(pairs)), cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    lines = trained.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "train tiny",
        "Training on 9 images of pairs, 8 iterations, 2 patches an image.",
        "\tfrom iteration 1",
        "network",
        "schedule",
        "1 of 8",
        "8 of 8",
        "validation at 8, pairs",
        "results",
    ]
    assert trained.stdout == ""
    log = next((tmp_path / "experiments/tiny").glob("*.log")).read_text()
    assert all(line.strip() in log for line in lines if " of 8: " not in line)
    for everything in ("Version Information", "manual_seed: 0", "(qkv_proj): ", "iter:       8, lr:("):
        assert everything in log
        assert everything not in trained.stderr

    options = testing_options(pairs, "experiments/tiny/models/net_g_latest.pth")
    tested = run_basicsr("test", "-opt", write_options(options, "test.yml"), cwd=tmp_path)
    assert tested.returncode == 0, tested.stderr
    lines = tested.stderr.splitlines()
    assert [line.split(":")[0].split(" from ")[0] for line in lines] == [
        "test tiny", "network", "Loading RAMiT", "pairs", "results"
    ]  # fmt: skip
    measured = (tmp_path / "results/tiny/pairs.csv").read_text().splitlines()[-1].split(",")[1]
    assert f"psnr {float(measured):.4f}" in tested.stderr


def test_verbose_shows_everything(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    done = run_basicsr("train", "-opt", write_options(training_options(pairs)), "--verbose", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    log = next((tmp_path / "experiments/tiny").glob("*.log")).read_text()
    said = [line for line in done.stderr.splitlines() if " of 8: " not in line]
    assert said == log.splitlines()
