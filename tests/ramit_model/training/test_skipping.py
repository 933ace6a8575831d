"""Iterations that are skipped because their gradient leaps."""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import training_options
from hypothesis import given
from hypothesis import strategies as st
from trainers import batch, model, parameters, resumed_model

from ramit_model.system.errors import InputError
from ramit_model.training.restoration_model import RestorationModel
from ramit_model.training.skipping import LeapFilter

norms = st.lists(st.floats(0.01, 10) | st.just(math.inf), max_size=300)


@given(norms, st.floats(1.01, 20), st.integers(0, 300))
def test_leaps_are_those_of_the_definition(values: list[float], factor: float, resumed_at: int) -> None:
    leaps, expected, known = LeapFilter(factor), [], []
    found = []
    for index, value in enumerate(values):
        if index == resumed_at:
            state, leaps = leaps.state_dict(), LeapFilter(factor)
            leaps.load_state_dict(state)
        enough = len(known) >= 10
        expected.append(value == math.inf or (enough and value > factor * np.median(known[-100:])))
        known += [value] if value < math.inf else []
        found.append(leaps.leaps(value))
    assert found == expected
    assert leaps.count == sum(expected)


def test_a_gradient_that_stays_large_leaps_for_half_of_the_window() -> None:
    leaps = LeapFilter(4)
    found = [leaps.leaps(norm) for norm in [1.0] * 100 + [50.0] * 100]
    assert found == [False] * 100 + [True] * 50 + [False] * 50
    leaps.forget()
    assert not leaps.leaps(1e9)


def test_no_finite_gradient_for_long_is_an_error() -> None:
    leaps = LeapFilter(4)
    for _ in range(99):
        assert leaps.leaps(math.nan)
    with pytest.raises(FloatingPointError):
        leaps.leaps(math.inf)


# In a training --------------------------------------------------------------------------------------------------------

LEAPING = {14: 1000.0, 19: 30.0}
"""Iterations whose ground truth is so many times brighter than that of others."""


def options(pairs: Path, **train_options: Any) -> dict[str, Any]:
    options = training_options(pairs)
    options["network_g"] = {"type": "MSRResNet", "num_feat": 4, "num_block": 1, "upscale": 2}
    options["train"] |= {"pixel_opt": {"type": "MSELoss"}, "skip_above": 4, "total_iter": 24, **train_options}
    return options


def train(trainer: RestorationModel, iterations: range) -> None:
    for iteration in iterations:
        trainer.update_learning_rate(iteration)
        data = batch(seed=iteration)
        trainer.feed_data({**data, "gt": data["gt"] * LEAPING.get(iteration, 1)})
        trainer.optimize_parameters(iteration)


def all_states(trainer: RestorationModel) -> list[torch.Tensor]:
    """Weights, averaged weights and what the optimizer keeps."""
    kept = [value for state in trainer.optimizer_g.state.values() for value in state.values()]
    tensors = [*trainer.net_g.parameters(), *trainer.net_g_ema.parameters(), *kept]
    return [tensor.detach().clone() for tensor in tensors]


@pytest.mark.parametrize("train_options", [{}, {"grad_clip": 0.5}, {"accumulate": 2}, {"amp": "bfloat16"}], ids=str)
def test_a_leap_changes_nothing_and_is_counted(
    train_options: dict[str, Any], pairs: Path, tmp_path: Path, log: list[logging.LogRecord]
) -> None:
    trainer = model(options(pairs, ema_decay=0.9, **train_options), tmp_path, is_train=True)
    train(trainer, range(1, 14))
    assert trainer.get_current_log()["skipped"] == 0
    before = all_states(trainer)
    train(trainer, range(14, 15))
    torch.testing.assert_close(all_states(trainer), before, rtol=0, atol=0)
    assert trainer.get_current_log()["skipped"] == 1
    assert log[-1].getMessage().startswith("iteration 14 is skipped: gradient norm ")
    train(trainer, range(15, 16))
    assert not any(torch.equal(a, b) for a, b in zip(all_states(trainer), before, strict=True) if a.numel() > 1)


def test_without_leaps_the_training_is_the_same(pairs: Path, tmp_path: Path) -> None:
    """Also where gradients are clipped, which takes the same norm."""
    ends = []
    for skip_above in (None, 1e9):
        trainer = model(options(pairs, skip_above=skip_above, grad_clip=0.2), tmp_path, is_train=True)
        train(trainer, range(1, 14))
        ends.append(parameters(trainer))
    torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=0)


@pytest.mark.parametrize("at", [5, 14, 18])
def test_a_resumed_training_skips_the_same(at: int, pairs: Path, tmp_path: Path) -> None:
    given = options(pairs, ema_decay=0.9)
    whole = model(given, tmp_path, is_train=True)
    train(whole, range(1, at + 1))
    whole.save(0, at)
    train(whole, range(at + 1, 25))
    resumed = resumed_model(given, tmp_path, at)
    train(resumed, range(at + 1, 25))
    torch.testing.assert_close(all_states(resumed), all_states(whole), rtol=0, atol=0)
    assert resumed.get_current_log()["skipped"] == whole.get_current_log()["skipped"] == 2


def test_the_first_process_decides_for_all(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = model(options(pairs), tmp_path, is_train=True)
    train(trainer, range(1, 14))
    monkeypatch.setattr(torch.distributed, "broadcast", lambda norm, source: norm.fill_([1e9][source]))
    trainer.opt["dist"] = True
    leap_filter = trainer.leap_filter
    assert trainer._leaps(leap_filter, torch.tensor(1e-3), 14)
    monkeypatch.setattr(torch.distributed, "broadcast", lambda norm, source: norm.fill_(1e-3))
    assert not trainer._leaps(leap_filter, torch.tensor(1e9), 15)


def test_float16_leaves_gradients_that_are_not_finite_to_its_scaler(pairs: Path, tmp_path: Path) -> None:
    trainer = model(options(pairs, amp="float16"), tmp_path, is_train=True)
    factor = trainer.scaler.get_scale()
    trainer.feed_data({"lq": batch()["lq"], "gt": torch.full((4, 3, 32, 32), 1e4)})
    before = parameters(trainer)
    trainer.optimize_parameters(1)
    torch.testing.assert_close(parameters(trainer), before, rtol=0, atol=0)
    assert trainer.scaler.get_scale() == factor / 2
    assert trainer.get_current_log()["skipped"] == 0


def test_gradients_that_are_never_finite_end_the_training(pairs: Path, tmp_path: Path) -> None:
    trainer = model(options(pairs), tmp_path, is_train=True)
    with pytest.raises(InputError, match=r"^the gradient is not finite \(NaN or Inf\); "):
        for iteration in range(1, 101):
            trainer._leaps(trainer.leap_filter, torch.tensor(math.nan), iteration)
