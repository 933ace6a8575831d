"""Optimizers of a training: those of `torch.optim`, by their names and with their arguments."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ramit_model.training.muon import MuonWithAdamW

UNFIT = {
    "LBFGS": "computes the network several times in a step, which a training does once",
    "Rprop": "has step sizes of its own, on which the rates of the schedule would have no effect",
    "SparseAdam": "takes sparse gradients, and those of networks for images are dense",
}
"""Optimizers that do not fit a training, and why."""


def known_optimizers() -> dict[str, type[Optimizer]]:
    """All optimizers of the installed PyTorch, by name; Muon, where it has it, with AdamW for what is no matrix."""
    kinds = {name: kind for name, kind in vars(torch.optim).items() if isinstance(kind, type)}
    known = {name: kind for name, kind in kinds.items() if issubclass(kind, Optimizer) and kind is not Optimizer}
    return known | ({"Muon": MuonWithAdamW} if "Muon" in known else {})


def make_optimizer(block: Mapping[str, Any], parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Make the optimizer that the block `train.optim_g` of a training's options names.

    Args:
        block: Type and arguments.
        parameters: What is trained.
    """
    return known_optimizers()[block["type"]](parameters, **arguments_of(block))


def arguments_of(block: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of an optimizer, without its type."""
    return {key: value for key, value in block.items() if key != "type"}
