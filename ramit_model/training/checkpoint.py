"""Checkpoints written whole or not at all."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ramit_model.inference.facts import FACTS_KEY
from ramit_model.system.files import write_atomically


def save_atomically(content: Any, path: str | os.PathLike[str]) -> None:
    """Write a file as `torch.save` does, whole or not at all.

    Raises:
        OSError: The file could not be written; `path` is as it was before.
    """
    # In memory first: on a full disk, the error of torch.save itself would not tell the reason.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(buffer.getbuffer(), path)


def save_networks(
    networks: Mapping[str, nn.Module], path: str | os.PathLike[str], facts: Mapping[str, Any] | None = None
) -> None:
    """Write the state dict of each network, moved to the CPU, under its key (`params`, `params_ema`).

    Args:
        networks: Key -> network.
        path: File to write.
        facts: Plain data that the file states about itself, such as `network_g`; BasicSR does not look at it.

    Raises:
        OSError: The file could not be written; `path` is as it was before.
    """
    content: dict[str, Any] = {}
    for key, net in networks.items():
        content[key] = state = net.state_dict()  # with its metadata, which a plain dict would not have
        state.update({name: tensor.cpu() for name, tensor in state.items()})
    if facts is not None:
        content[FACTS_KEY] = dict(facts)
    save_atomically(content, path)


def training_states(name: str) -> list[Path]:
    """Training states of the run `name` under the current folder, the highest iteration first."""
    states = Path("experiments", name, "training_states").glob("*.state")
    return sorted((state for state in states if state.stem.isdigit()), key=lambda state: -int(state.stem))
