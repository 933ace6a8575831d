"""Losses of a training: which the options name, what they are called in logs, and their values."""

import inspect
import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ramit_model.system.errors import InputError

PREFIX = "l_"
"""Beginning of the names of losses in logs, as in BasicSR."""

BASICSRS = {"pixel_opt": ("l_pix", "l_pix_style"), "perceptual_opt": ("l_percep", "l_style")}
"""BasicSR's options for one loss each, and the names in logs of what such a loss gives."""


@dataclass(frozen=True)
class LossOptions:
    """Options of one loss.

    Attributes:
        key: Where they are, for example `train.losses[1]`.
        block: Type and arguments.
        names: Names in logs of what the loss gives: a number, or (PerceptualLoss) one of content and one of style.
    """

    key: str
    block: Mapping[str, Any]
    names: tuple[str, str]


def losses_of(train: Mapping[str, Any]) -> list[LossOptions]:
    """Losses that the block `train` of a training's options names.

    A loss of the list that has no name is called as its type, in small letters and without `Loss`; if that name is
    taken, with a number.

    >>> [loss.names[0] for loss in losses_of({"losses": [{"type": "L1Loss"}, {"type": "FFTLoss"}, {"type": "L1Loss"}]})]
    ['l_l1', 'l_fft', 'l_l1_2']

    Raises:
        InputError: There are both a list and options of BasicSR's, or two losses are given one name.
    """
    single = [key for key in BASICSRS if train.get(key)]
    entries = train.get("losses")
    if entries is None:
        return [LossOptions(f"train.{key}", train[key], BASICSRS[key]) for key in single]
    if single:
        raise InputError(
            f"train.losses: train.{single[0]} is there, too; move its loss into the list, or write ~ for it"
        )
    return [
        LossOptions(
            f"train.losses[{index}]",
            {option: value for option, value in entry.items() if option != "name"},
            (PREFIX + name, f"{PREFIX}{name}_style"),
        )
        for index, (entry, name) in enumerate(zip(entries, _names(entries), strict=True))
    ]


def _names(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the losses of the list, each another."""
    names: dict[str, int] = {}
    for index, entry in enumerate(entries):
        name = entry.get("name")
        if name is None:
            continue
        if not re.fullmatch(r"\w[\w-]*", str(name)):
            raise InputError(
                f"train.losses[{index}].name: {name!r} is a name in logs; use letters, digits and _ - only"
            )
        if name in names:
            raise InputError(
                f"train.losses[{index}].name: train.losses[{names[name]}] is called {name}, too; rename one"
            )
        names[name] = index
    for index, entry in enumerate(entries):
        if entry.get("name") is None:
            names[_free_name(entry["type"], names)] = index
    for name, index in names.items():  # a loss with a part of style logs it under a second name
        if (other := names.get(f"{name}_style")) is not None:
            raise InputError(
                f"train.losses[{other}].name: {name}_style may be a part of train.losses[{index}]; choose another"
            )
    return sorted(names, key=names.__getitem__)


def _free_name(kind: str, taken: Collection[str]) -> str:
    name = (kind.removesuffix("Loss") or kind).lower()
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return next(free for free in itertools.chain([name], numbered) if free not in taken)


class Criteria(nn.Module):
    """All losses of a training.

    Args:
        train: Block `train` of the options.

    Shape:
        (B, C, H, W), (B, C, H, W) -> scalars by their names in logs.
    """

    def __init__(self, train: Mapping[str, Any]) -> None:
        from ramit_model.basicsr_bridge import build_loss

        super().__init__()
        self.options = losses_of(train)
        self.losses = nn.ModuleList(build_loss(loss.block) for loss in self.options)

    def forward(self, output: Tensor, gt: Tensor) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        for loss, module in zip(self.options, self.losses, strict=True):
            values |= loss_values(module, loss.names, output, gt)
        return values


def loss_values(module: nn.Module, names: tuple[str, str], output: Tensor, gt: Tensor) -> dict[str, Tensor]:
    """Values of one loss, by name.

    Raises:
        ValueError: It compares no images, gives nothing, or more than one number for each name.
    """
    parameters = list(inspect.signature(module.forward).parameters)
    if "target_is_real" in parameters:
        raise ValueError("judges what a discriminator gives, not images; name a loss between images, such as L1Loss")
    # The second argument of a loss that looks at one image (WeightedTVLoss) is a weight.
    result = module(output) if parameters[1:2] == ["weight"] else module(output, gt)
    parts = result if isinstance(result, tuple) else (result,)
    if len(parts) > len(names):
        raise ValueError(f"gives {len(parts)} losses; a loss may give one, or one of content and one of style")
    values = {name: part for name, part in zip(names, parts, strict=False) if part is not None}
    if not values:
        raise ValueError("gives no loss; raise a weight")
    for part in values.values():
        if part.numel() != 1:
            raise ValueError("gives one number for each pixel; a training needs a single one (mean or sum)")
    return {name: part.reshape(()) for name, part in values.items()}


def total(values: Mapping[str, Tensor]) -> Tensor:
    """Sum of all losses, which is what is back-propagated."""
    return torch.stack(list(values.values())).sum()
