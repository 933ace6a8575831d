"""What a training does besides BasicSR's loop."""

import csv
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest
import torch
from basicsr.utils import get_root_logger
from helpers import TINY, changed, fill, run_basicsr, training_options

from ramit_arch import RAMiT
from ramit_model.training.interruption import StoppedError
from ramit_model.training.session import Session, init_tb_loggers, running
from ramit_model.training.training_table import FIXED, read_rows
from ramit_model.training.validation_history import ValidationHistory


class Model:
    """Model that notes what is asked of it."""

    def __init__(self, first: bool = False) -> None:
        self.first, self.saved, self.validated = first, [], []

    def validates_first(self, start: int) -> bool:
        return self.first

    def validation(self, loader: Any, iteration: int, board: Any, save_img: bool) -> None:
        self.validated.append((loader, iteration))

    def save(self, epoch: int, iteration: int) -> None:
        self.saved.append((epoch, iteration))


def session(model: Model, **changes: Any) -> Session:
    return Session(model=model, opt={"rank": 0, "val": {"save_img": False}}, val_loaders=["a", "b"], **changes)


@pytest.mark.parametrize(("start", "saved"), [(0, [(3, 2)]), (1, [(3, 2)]), (2, [])])
def test_a_stop_saves_what_is_new(start: int, saved: list[tuple[int, int]]) -> None:
    current = session(model := Model(), sampler=SimpleNamespace(epoch=3))
    for iteration in range(start + 1, 3):
        current.before_iteration(iteration)
    current.interruption.noted = signal.SIGTERM
    with pytest.raises(StoppedError) as caught:
        current.before_iteration(3)
    assert model.saved == saved
    assert (caught.value.number, caught.value.iteration) == (signal.SIGTERM, 2 if saved else None)


def test_the_start_is_validated_once() -> None:
    current = session(model := Model(first=True))
    for iteration in (5, 6):
        current.before_iteration(iteration)
    assert model.validated == [("a", 4), ("b", 4)]
    session(model := Model()).before_iteration(1)
    assert model.validated == []


def test_weights_and_biases_takes_what_tensorboard_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, Any]] = []
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **given: started.append(given)))
    wandb = {"project": "mine", "resume_id": "abc", "mode": "offline"}
    opt = {"name": "x", "rank": 0, "root_path": str(tmp_path), "logger": {"use_tb_logger": True, "wandb": wandb}}
    for given in (wandb, {"project": "mine"}, {"project": None}):
        with running():
            assert init_tb_loggers({**opt, "logger": {"use_tb_logger": True, "wandb": given}}) is not None
    keys = ("project", "name", "id", "resume", "mode", "sync_tensorboard")
    assert [tuple(given[key] for key in keys) for given in started] == [
        ("mine", "x", "abc", "allow", "offline", True),
        ("mine", "x", None, None, None, True),
    ]


def rows(experiment: Path) -> list[tuple[int, str]]:
    """Iteration and metric of every measurement of a training."""
    with (experiment / "validation.csv").open(newline="") as file:
        return [(int(row["iteration"]), row["metric"]) for row in csv.DictReader(file)]


def test_weights_to_begin_with_count_for_the_best(
    pairs: Path, tmp_path: Path, write_options: Callable[..., Path]
) -> None:
    """A fine-tuning that only does harm keeps what it began with as net_g_best.pth; resumed, it still does."""
    given = tmp_path / "given.pth"
    torch.save(fill(RAMiT(**{key: value for key, value in TINY.items() if key != "type"})).state_dict(), given)
    options = changed(training_options(pairs), "path.pretrain_network_g", str(given))
    options = changed(options, "train.optim_g.lr", 1.0)
    path = write_options(changed(options, "train.warmup_iter", -1))
    run = run_basicsr("train", "-opt", path, "--force_yml", "train:total_iter=4", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "validation at 0, pairs: psnr" in run.stderr
    experiment = tmp_path / "experiments/tiny"
    best = torch.load(experiment / "models/net_g_best.pth", weights_only=True)
    assert best["ramit"]["iteration"] == 0
    torch.testing.assert_close(best["params"], torch.load(given, weights_only=True), rtol=0, atol=0)
    assert rows(experiment) == [(0, "psnr"), (0, "ssim"), (4, "psnr"), (4, "ssim")]
    run = run_basicsr("train", "-opt", path, "--auto_resume", cwd=tmp_path)
    assert "at 0)" in run.stderr  # (best: ... at 0)
    assert rows(experiment) == [(i, metric) for i in (0, 4, 8) for metric in ("psnr", "ssim")]

    off = run_basicsr(
        "train", "-opt", path, "--force_yml", "name=off", "val:at_start=false", "train:total_iter=1", cwd=tmp_path
    )
    assert "validation at 0" not in off.stderr


def test_a_validation_that_was_broken_off_is_made_up_for(
    pairs: Path, tmp_path: Path, write_options: Callable[..., Path]
) -> None:
    path = write_options(changed(training_options(pairs), "val.val_freq", 4))
    run_basicsr("train", "-opt", path, "--force_yml", "train:total_iter=4", cwd=tmp_path)
    table = tmp_path / "experiments/tiny/validation.csv"
    whole = table.read_text()
    table.unlink()
    run = run_basicsr("train", "-opt", path, "--auto_resume", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert table.read_text().startswith(whole)


def test_tensorboard_forgets_what_is_trained_again(
    pairs: Path, tmp_path: Path, write_options: Callable[..., Path]
) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    path = write_options(changed(training_options(pairs), "logger.use_tb_logger", True))
    run_basicsr("train", "-opt", path, cwd=tmp_path)
    for kept in ("models", "training_states"):
        for file in (tmp_path / "experiments/tiny" / kept).glob("*8.*"):
            file.unlink()
    run = run_basicsr("train", "-opt", path, "--auto_resume", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    events = event_accumulator.EventAccumulator(str(tmp_path / "tb_logger/tiny"))
    events.Reload()
    assert [event.step for event in events.Scalars("lr")] == list(range(1, 9))


def test_what_a_training_leaves_to_look_at(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    """A table and a curve that a resumed training goes on with, and the first batch of the very first one."""
    options = changed(training_options(pairs), "logger.learning_curve", True)
    path = write_options(changed(options, "val.val_freq", 2))
    experiment = tmp_path / "experiments/tiny"
    pictures = []
    for total in (4, 8):
        run = run_basicsr(
            *("train", "-opt", path, "--auto_resume", "--force_yml", f"train:total_iter={total}"),
            *("logger:compare_with=experiments/tiny" for _ in range(total // 8)),
            cwd=tmp_path,
        )
        assert run.returncode == 0, run.stderr
        assert "Warning" not in run.stderr
        assert "; experiments/tiny/learning_curve.png; log in " in run.stderr
        table = list(read_rows(experiment / "training.csv"))
        assert [row["iteration"] for row in table] == list(range(1, total + 1))
        assert all(row.keys() == {*FIXED, "l_pix"} for row in table)
        pictures.append([(experiment / name).read_bytes() for name in ("learning_curve.png", "first_batch.png")])
    assert pictures[0][0] != pictures[1][0]
    assert pictures[0][1] == pictures[1][1]
    assert cv2.imread(str(experiment / "first_batch.png")).shape == (132, 2 * 260, 3)


def test_a_curve_that_cannot_be_drawn_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(get_root_logger(), "warning", lines.append)
    history = ValidationHistory(tmp_path / "validation.csv")
    history.add(1, "Set5", {"psnr": 30.0})
    (tmp_path / "learning_curve.png").mkdir()
    model = Model()
    model.history = history
    current = Session(model=model, opt={"name": "x", "rank": 0, "logger": {}})
    for iteration in (2, 3):
        current.before_iteration(iteration)
    (line,) = lines
    assert line.startswith("no learning curve: ")
    assert "learning_curve.png: Is a directory" in line
