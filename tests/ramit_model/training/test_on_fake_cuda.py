"""Trainer on a GPU, as far as that can be seen without one: an iteration waits for no value, and mixes no devices."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_cuda import CUDA, fake_cuda, gradients_for, needs_fake_cuda
from helpers import training_options
from trainers import batch, model, train

from ramit_model.inference.restoring import restore_pixels
from ramit_model.inference.tiling import Tiling
from ramit_model.training.losses import LossAverage

pytestmark = needs_fake_cuda

ADAM = {"type": "Adam", "lr": 0.001}
LOSSES = [{"type": kind} for kind in ("L1Loss", "MSELoss", "CharbonnierLoss", "FFTLoss", "SSIMLoss")]

TRAIN_OPTIONS: list[dict[str, Any]] = [
    {},
    {"amp": "bfloat16", "ema_decay": 0.999},
    # Without fused steps PyTorch's own scaler waits for a value.
    {"amp": "float16", "optim_g": ADAM | {"fused": True}},
    {"amp": "float16", "optim_g": ADAM | {"fused": True}, "grad_clip": 0.5},
    {"grad_clip": 0.5, "accumulate": 2},
    {"channels_last": True, "ema_decay": 0.9},
    {"optim_g": {"type": "AdamW", "lr": 0.001}, "losses": LOSSES, "pixel_opt": None},
    {"optim_g": {"type": "SGD", "lr": 0.001, "momentum": 0.9}},
    {"activation_checkpointing": True},
]
if hasattr(torch.optim, "Muon"):
    TRAIN_OPTIONS.append({"optim_g": {"type": "Muon", "lr": 0.001}})


@pytest.mark.parametrize("train_options", TRAIN_OPTIONS, ids=str)
def test_iterations(train_options: dict[str, Any], pairs: Path, tmp_path: Path) -> None:
    options = training_options(pairs, num_gpu=1)
    options["train"].update(deepcopy(train_options))
    with fake_cuda():
        trainer = model(options, tmp_path, is_train=True)
        with gradients_for(trainer.net_g):
            train(trainer, range(1, 4))
        networks = [trainer.net_g, *([trainer.net_g_ema] if hasattr(trainer, "net_g_ema") else [])]
        assert {tensor.device for net in networks for tensor in net.state_dict().values()} == {CUDA}
        assert {value.device for value in trainer.losses._sums.values()} == {CUDA}
        assert trainer.lq.device == trainer.gt.device == CUDA


def test_logging_waits(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for all losses: their averages come to the host together."""
    asked = []
    monkeypatch.setattr(LossAverage, "values", lambda self: asked.append(self) or {"l_pix": 1.0})
    with fake_cuda():
        trainer = model(training_options(pairs, num_gpu=1), tmp_path, is_train=True)
        with gradients_for(trainer.net_g):
            train(trainer, range(1, 4))
        assert not asked
        assert trainer.get_current_log() == {"l_pix": 1.0}
    assert len(asked) == 1


@pytest.mark.parametrize("tile", [None, "auto"])
def test_restoring(tile: str | None, pairs: Path, tmp_path: Path) -> None:
    """A whole image; the result stays in host memory."""
    with fake_cuda():
        trainer = model(training_options(pairs, num_gpu=1), tmp_path, is_train=True)
        lq = torch.rand(1, 3, 50, 70)
        result = restore_pixels(trainer.net_g.eval(), lq, unit=32, scale=2, tiling=Tiling(tile), device=CUDA)
        assert result.shape == (1, 3, 100, 140)
        assert result.device == lq.device
    assert batch()["lq"].device.type == "cpu"  # the context has ended
