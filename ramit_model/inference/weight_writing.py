"""Write weights as safetensors or as BasicSR does, with the facts about them."""

import io
from collections import OrderedDict
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from ramit_model.inference.facts import FACTS_KEY, MARKER, Facts, marker, to_header
from ramit_model.inference.identify import told_by_shapes
from ramit_model.system.errors import InputError
from ramit_model.system.files import write_atomically

SUFFIXES = (".safetensors", ".pth")


def write_weights(weights: dict[str, Tensor], facts: Facts, path: Path) -> None:
    """Write a file of weights, whole or not at all.

    Args:
        weights: By the network's own names.
        facts: What the file is to state; `network_g` must be among them.
        path: File to write; its suffix, one of `SUFFIXES`, says as what.

    Raises:
        InputError: Another suffix.
        OSError: The file could not be written; `path` is as it was before.
    """
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    network_g = facts["network_g"]
    if path.suffix.lower() == ".safetensors":
        # Some programs, spandrel among them, look at nothing but tensors.
        if not told_by_shapes(network_g, weights):
            weights[MARKER] = marker(network_g)
        write_atomically(safetensors.torch.save(weights, to_header(facts)), path)
    elif path.suffix.lower() == ".pth":
        params = OrderedDict(weights)
        params._metadata = OrderedDict({"": {"version": 1, "network_g": network_g}})  # type: ignore[attr-defined]
        buffer = io.BytesIO()
        torch.save({"params": params, FACTS_KEY: facts}, buffer)
        write_atomically(buffer.getbuffer(), path)
    else:
        raise InputError(f"{path}: end its name in {' or '.join(SUFFIXES)}")


def to_half(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Round floating-point weights to float16.

    Raises:
        InputError: A weight is too large for it.
    """
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    for name, tensor in half.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{name} is not finite in half precision; leave --half out")
    return half
