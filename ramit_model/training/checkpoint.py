"""Checkpoints written whole or not at all."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

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


def save_networks(networks: Mapping[str, nn.Module], path: str | os.PathLike[str]) -> None:
    """Write the state dict of each network, moved to the CPU, under its key (`params`, `params_ema`).

    Raises:
        OSError: The file could not be written; `path` is as it was before.
    """
    content = {key: {name: tensor.cpu() for name, tensor in net.state_dict().items()} for key, net in networks.items()}
    save_atomically(content, path)


def training_states(name: str) -> list[Path]:
    """Training states of the run `name` under the current folder, the highest iteration first."""
    states = Path("experiments", name, "training_states").glob("*.state")
    return sorted((state for state in states if state.stem.isdigit()), key=lambda state: -int(state.stem))
