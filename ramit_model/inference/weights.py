"""Weights of published and BasicSR checkpoints, read as data only and checked against a network."""

import os
import pickle
from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ramit_model.system.errors import InputError

PARAM_KEYS = ("params_ema", "params")
"""Keys of the weights in BasicSR's files; published files are bare state dicts."""


def read_checkpoint(path: str | os.PathLike[str]) -> Any:
    """Load a file of `torch.save` into host memory, as data only.

    Raises:
        InputError: The file is missing, truncated, not a checkpoint, or holds code.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except pickle.UnpicklingError:
        # torch raises this for foreign pickles and for other files alike.
        raise InputError(f"{path}: no checkpoint of plain tensors, will not be opened; get the weights again") from None
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: broken checkpoint ({reason[:100]}); copy or download it again") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_weights(path: str | os.PathLike[str], param_key: str | None = None) -> dict[str, Tensor]:
    """Read the state dict from a published file (bare) or one of BasicSR's (under `params` or `params_ema`).

    Args:
        path: File written by `torch.save`.
        param_key: Key to try first in a BasicSR file; a bare file need not have it.

    Returns:
        Parameter name -> tensor on the CPU, without DistributedDataParallel's `module.` prefix.

    Raises:
        InputError: The file cannot be read or holds no weights.
    """
    content = read_checkpoint(path)
    keys = PARAM_KEYS if param_key is None else (param_key, *PARAM_KEYS[::-1])
    if isinstance(content, dict):
        content = next((content[key] for key in keys if isinstance(content.get(key), dict)), content)
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(f"{path}: holds no network weights (a training state or another program's file?)")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def without_modules(weights: dict[str, Tensor], modules: Collection[str]) -> dict[str, Tensor]:
    """Weights without those of the named submodules."""
    prefixes = tuple(f"{module}." for module in modules)
    return {name: tensor for name, tensor in weights.items() if not name.startswith(prefixes)}


def check_fit(
    net: nn.Module,
    weights: dict[str, Tensor],
    path: str | os.PathLike[str],
    *,
    apart_from: Collection[str] = (),
    remedy: str = "check network_g",
) -> None:
    """Check that `weights` are exactly those of `net`, or of `net` without the submodules `apart_from`.

    Raises:
        InputError: Names or shapes differ; the message gives the count and the first name of each kind.
    """
    own = without_modules(net.state_dict(), apart_from)
    missing = [name for name in own if name not in weights]
    unexpected = [name for name in weights if name not in own]
    reshaped = [
        f"{name} is {_shape(weights[name])} in the file, {_shape(own[name])} in the network"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    problems = [*_count(missing, "missing"), *_count(unexpected, "unknown"), *_count(reshaped, "of another shape")]
    if problems:
        raise InputError(f"{path}: not the weights of this {type(net).__name__}: {'; '.join(problems)}; {remedy}")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"


def _count(names: list[str], what: str) -> Iterable[str]:
    if names:
        yield f"{len(names)} {what} ({names[0]})"
