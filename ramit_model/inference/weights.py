"""Weights of any container and wrapping, read as data only and checked against a network."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ramit_model.inference.facts import Facts, facts_beside, pop_facts
from ramit_model.inference.weight_files import read_container
from ramit_model.system.errors import InputError

PARAM_KEYS = ("params_ema", "params")
"""Keys of the weights in BasicSR's files; published files are bare state dicts."""

WRAPPERS = ("model_ema", "ema", "state_dict", "model_state_dict", "model", "net_g", "netG", "generator", "net")
"""Keys under which other programs keep the weights, tried in this order after `PARAM_KEYS`."""
MAX_DEPTH = 4
"""Wrappers within each other that are undone."""

WRAPPING_MODULES = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Modules that torch.compile and torch.distributed put around others: parts of names that mean nothing."""

ANCHORS = ("shallow.conv.weight", "shallow_extract.conv1.weight")
"""Name of the first weight of RAMiT and of NGswin, by which they are found inside of larger models."""


@dataclass(frozen=True)
class WeightFile:
    """Weights of a file, and what the file says about itself.

    Attributes:
        path: The file.
        weights: Parameter name -> tensor on the CPU, by the names that the network itself has.
        facts: What the file states (`ramit_model.inference.facts`); empty for files of most other programs.
        container: `safetensors`, or `torch.save`.
        wrapping: Keys and prefixes that were undone, such as `params_ema` and `module.`.
    """

    path: Path
    weights: dict[str, Tensor]
    facts: Facts
    container: str
    wrapping: tuple[str, ...]


def read_weight_file(
    path: str | os.PathLike[str], param_key: str | None = None, names: Collection[str] | None = None
) -> WeightFile:
    """Read weights from a bare state dict, a BasicSR file, a safetensors file or a wrapper of another program.

    Args:
        path: File written by `torch.save` or in safetensors.
        param_key: Key to try first in a BasicSR file; a bare file need not have it.
        names: Names of the wanted network's weights, by which it is found inside of a larger model (`net_g.` and the
            like); None to look for RAMiT and NGswin.

    Raises:
        InputError: The file cannot be read or holds no weights.
    """
    path = Path(path)
    content, header = read_container(path)
    try:
        found, keys = _state_dict(content, param_key)
        _check_plain(found)
        beside = header if header is not None else facts_beside(content) if isinstance(content, Mapping) else {}
        stated = pop_facts(found)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    weights, prefixes = _own_names(tensors, names)
    container = "torch.save" if header is None else "safetensors"
    return WeightFile(path, weights, {**stated, **beside}, container, (*keys, *prefixes))


def read_weights(
    path: str | os.PathLike[str], param_key: str | None = None, names: Collection[str] | None = None
) -> dict[str, Tensor]:
    """Read the weights alone, as `read_weight_file` does.

    Returns:
        Parameter name -> tensor on the CPU, without the prefixes that wrappers add.

    Raises:
        InputError: The file cannot be read or holds no weights.
    """
    return read_weight_file(path, param_key, names).weights


def _state_dict(content: Any, param_key: str | None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Find the state dict inside of wrappers.

    Returns:
        The state dict, and the keys that lead to it.

    Raises:
        InputError: There is none, or there are several and none of them is the known one.
    """
    first = PARAM_KEYS if param_key is None else (param_key, *PARAM_KEYS[::-1])
    keys: tuple[str, ...] = ()
    for _ in range(MAX_DEPTH):
        if not isinstance(content, dict):
            break
        inside = {key: value for key, value in content.items() if isinstance(value, dict) and _holds_tensors(value)}
        if any(isinstance(value, Tensor) for value in content.values()) and not any(key in inside for key in first):
            return content, keys
        key = next((key for key in (*first, *WRAPPERS) if key in inside), None)
        if key is None:
            if len(inside) > 1:
                raise InputError(
                    f"holds weights under {', '.join(map(repr, inside))}; save the wanted ones to a file of their own"
                )
            key = next(iter(inside), None)
        if key is None:
            break
        content, keys = content[key], (*keys, str(key))
    raise InputError("holds no network weights (a training state or another program's file?)")


def _check_plain(weights: dict[str, Any]) -> None:
    """Check that every tensor is a plain one, all of whose values are in the file.

    Others are as good as code: a few bytes can claim to be a tensor of any size.

    Raises:
        InputError: A tensor is not.
    """
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor):
            continue
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not plain or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise InputError(f"the tensor {name} is not stored in full (sparse, quantized, or claimed only)")


def _holds_tensors(content: dict[Any, Any], depth: int = MAX_DEPTH) -> bool:
    """Whether there is a state dict in it; the states of an optimizer, whose keys are numbers, are none."""
    if depth == 0 or not all(isinstance(key, str) for key in content):
        return False
    return any(
        isinstance(value, Tensor) or (isinstance(value, dict) and _holds_tensors(value, depth - 1))
        for value in content.values()
    )


def _own_names(weights: dict[str, Tensor], names: Collection[str] | None) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Weights by the network's own names, and the prefixes that were removed from them."""
    removed = []
    for module in WRAPPING_MODULES:
        if any(module in name.split(".") for name in weights):
            weights = {
                ".".join(part for part in name.split(".") if part != module): tensor for name, tensor in weights.items()
            }
            removed.append(f"{module}.")
    prefix = _prefix(weights, set(names or ANCHORS))
    if prefix == "":
        return weights, tuple(removed)
    if prefix:
        weights = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        return weights, (*removed, prefix)
    if any(name.startswith("module.") for name in weights):
        # The average of torch.optim.swa_utils counts its models beside the wrapped one.
        weights = {name.removeprefix("module."): value for name, value in weights.items() if name != "n_averaged"}
        removed.append("module.")
    return weights, tuple(removed)


def _prefix(weights: Collection[str], names: Collection[str]) -> str | None:
    """The prefix after which most of the wanted names follow; of several, a moving average's, as with `params_ema`.

    Returns:
        The prefix, which may be empty; None if no wanted name is there.
    """
    found: Counter[str] = Counter()
    for name in weights:
        start = 0
        while True:
            if name[start:] in names:
                found[name[:start]] += 1
            start = name.find(".", start) + 1
            if not start:
                break
    return max(found, key=lambda prefix: (found[prefix], "ema" in prefix, -len(prefix)), default=None)


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
    problems = differences(net, weights, apart_from)
    if problems:
        raise InputError(f"{path}: not the weights of this {type(net).__name__}: {problems}; {remedy}")


def differences(net: nn.Module, weights: Mapping[str, Tensor], apart_from: Collection[str] = ()) -> str:
    """Describe how names and shapes of weights differ from those of a network without the submodules `apart_from`.

    Returns:
        The count and the first name of each kind of difference; empty if there is none.
    """
    own = without_modules(net.state_dict(), apart_from)
    missing = [name for name in own if name not in weights]
    unexpected = [name for name in weights if name not in own]
    reshaped = [
        f"{name} is {_shape(weights[name])} in the file, {_shape(own[name])} in the network"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    # Places in tables, which follow from the network's options: others would lead out of the tables.
    changed = [
        name
        for name, tensor in own.items()
        if not tensor.is_floating_point()
        and not tensor.is_meta
        and name in weights
        and weights[name].shape == tensor.shape
        and not torch.equal(weights[name].cpu().to(tensor.dtype), tensor.cpu())
    ]
    counted = ((missing, "missing"), (unexpected, "unknown"), (reshaped, "of another shape"), (changed, "damaged"))
    return "; ".join(part for names, what in counted for part in _count(names, what))


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"


def _count(names: list[str], what: str) -> Iterable[str]:
    if names:
        yield f"{len(names)} {what} ({names[0]})"
