"""Trainers of tiny networks in this process, without BasicSR's loop, and batches for them."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from helpers import training_options

from ramit_model.training.restoration_model import RestorationModel


def batch(size: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
    """LQ and GT patches of the tiny network."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "lq": torch.rand(size, 3, 16, 16, generator=generator),
        "gt": torch.rand(size, 3, 32, 32, generator=generator),
    }


def train(trainer: RestorationModel, iterations: range) -> None:
    """Iterations with a batch that depends on the iteration only."""
    for iteration in iterations:
        trainer.update_learning_rate(iteration)
        trainer.feed_data(batch(seed=iteration))
        trainer.optimize_parameters(iteration)


def model(options: dict[str, Any], root: Path, *, is_train: bool) -> RestorationModel:
    """A model in the folder `root`, with the same random weights each time."""
    options = deepcopy(options) | {"is_train": is_train, "dist": False, "rank": 0, "world_size": 1}
    for key in ("models", "training_states", "visualization", "results_root"):
        options["path"][key] = str(root / key)
        (root / key).mkdir(exist_ok=True)
    options["path"]["experiments_root"] = str(root)
    torch.manual_seed(0)
    return RestorationModel(options)


def training_model(pairs: Path, root: Path, **train_options: Any) -> RestorationModel:
    """A trainer with some of the `train` options changed."""
    options = training_options(pairs)
    options["train"].update(train_options)
    return model(options, root, is_train=True)


def resumed_model(options: dict[str, Any], root: Path, at: int) -> RestorationModel:
    """A trainer that goes on from what another one with these options has saved in the same folder."""
    options = deepcopy(options)
    options["path"]["pretrain_network_g"] = str(root / f"models/net_g_{at}.pth")
    options["path"]["resume_state"] = str(root / f"training_states/{at}.state")
    trainer = model(options, root, is_train=True)
    trainer.resume_training(torch.load(options["path"]["resume_state"], weights_only=True))
    return trainer


def parameters(trainer: RestorationModel) -> dict[str, torch.Tensor]:
    """Copies of the weights."""
    return {name: tensor.detach().clone() for name, tensor in trainer.net_g.named_parameters()}
