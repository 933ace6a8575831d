"""Optimizers by name: the steps of PyTorch's own, before and after a training is resumed."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import training_options
from trainers import batch, model, parameters, resumed_model, train

from ramit_model.system.errors import InputError
from ramit_model.training.optimizers import UNFIT, known_optimizers

ADMITTED = sorted(known_optimizers().keys() - UNFIT.keys() - {"Muon"})

ARGUMENTS: dict[str, dict[str, Any]] = {
    "AdamW": {"betas": [0.9, 0.99], "weight_decay": 0.1},
    "SGD": {"momentum": 0.9, "nesterov": True},
    "RMSprop": {"momentum": 0.5, "centered": True},
    "NAdam": {"decoupled_weight_decay": True, "weight_decay": 0.01},
}


def options_with(pairs: Path, kind: str) -> dict[str, Any]:
    options = training_options(pairs)
    options["network_g"] = {"type": "MSRResNet", "num_feat": 4, "num_block": 1, "upscale": 2}
    options["train"]["optim_g"] = {"type": kind, "lr": 0.002, **ARGUMENTS.get(kind, {})}
    return options


def test_which_are_admitted() -> None:
    assert {"Adam", "AdamW", "NAdam", "RAdam", "SGD", "Adamax", "RMSprop", "Adagrad", "Adadelta", "ASGD"} <= {*ADMITTED}
    assert not {"Optimizer", "LBFGS", "SparseAdam", "Rprop"} & {*ADMITTED}


@pytest.mark.parametrize("kind", ADMITTED)
def test_steps_are_those_of_pytorch(kind: str, pairs: Path, tmp_path: Path) -> None:
    """Bit for bit; resumed after the second of four iterations, too."""
    options = options_with(pairs, kind)
    trainer = model(options, tmp_path, is_train=True)
    net = deepcopy(trainer.net_g)
    start = parameters(trainer)
    arguments = {key: value for key, value in options["train"]["optim_g"].items() if key != "type"}
    optimizer = getattr(torch.optim, kind)(net.parameters(), **arguments)
    for iteration, rate in enumerate((0.001, 0.002, 0.002, 0.002), 1):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        data = batch(seed=iteration)
        (net(data["lq"]) - data["gt"]).abs().mean().backward()
        optimizer.step()
    train(trainer, range(1, 3))
    trainer.save(0, 2)
    train(trainer, range(3, 5))
    assert not torch.equal(start["conv_first.weight"], trainer.net_g.conv_first.weight)
    torch.testing.assert_close(parameters(trainer), dict(net.named_parameters()), rtol=0, atol=0)
    resumed = resumed_model(options, tmp_path, 2)
    train(resumed, range(3, 5))
    torch.testing.assert_close(parameters(resumed), parameters(trainer), rtol=0, atol=0)


def test_a_state_of_another_optimizer_is_refused(pairs: Path, tmp_path: Path) -> None:
    """PyTorch would take AdamW's state for Adam, with its decay."""
    trainer = model(options_with(pairs, "Adam"), tmp_path, is_train=True)
    train(trainer, range(1, 3))
    trainer.save(0, 2)
    with pytest.raises(InputError) as caught:
        resumed_model(options_with(pairs, "AdamW"), tmp_path, 2)
    assert caught.value.line == (
        f"{tmp_path}/training_states/2.state: is of a training with Adam, and train.optim_g.type is AdamW; resume with "
        "Adam, or begin another training with its weights (path.pretrain_network_g)"
    )


def test_arguments_that_were_changed_hold_after_resuming(pairs: Path, tmp_path: Path) -> None:
    options = options_with(pairs, "AdamW")
    trainer = model(options, tmp_path, is_train=True)
    train(trainer, range(1, 3))
    trainer.save(0, 2)
    options["train"]["optim_g"]["weight_decay"] = 0.5
    (group,) = resumed_model(options, tmp_path, 2).optimizer_g.param_groups
    assert (group["weight_decay"], group["betas"]) == (0.5, [0.9, 0.99])
