"""Facts that a file of weights states about itself: network, iteration, license, and the like, as plain data.

There are four places for them, since each program keeps another: a key beside the weights in files of `torch.save`,
the header of safetensors files, a marker tensor among the weights (all that spandrel hands on of a safetensors file),
and the metadata of a state dict, where RAMiT writes its own arguments.
"""

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from ramit_model.system.errors import InputError

Facts = dict[str, Any]
"""`network_g` as option files have it, and perhaps task, scale, iteration, version, license, source, metrics."""

FACTS_KEY = "ramit"
"""Key of the facts beside `params` in a file of `torch.save`."""

MARKER = "ramit.network_g"
"""Name of a tensor of bytes, the JSON of `network_g`, in files whose shapes do not determine the network."""

TEXTS = ("task", "version", "license", "source")
"""Facts that are texts; the others are JSON in the header of a safetensors file."""
KNOWN = ("network_g", "scale", "iteration", "metrics", *TEXTS)
MAX_MARKER = 65536
"""Bytes of the longest marker that is read."""


def package_version() -> str | None:
    """Version of this package; None where it is not installed."""
    try:
        return version("ramit-basicsr")
    except PackageNotFoundError:
        return None


def marker(network_g: Mapping[str, Any]) -> Tensor:
    """Encode a network's options as a tensor, shape (bytes,), uint8."""
    return torch.tensor(list(json.dumps(network_g).encode()), dtype=torch.uint8)


def pop_facts(weights: dict[str, Any]) -> Facts:
    """Remove the marker from a state dict and read it; without one, read the metadata that RAMiT writes.

    Raises:
        InputError: The marker cannot be read.
    """
    tensor = weights.pop(MARKER, None)
    if tensor is None:
        own = getattr(weights, "_metadata", None)
        # Wrapped networks are not at the root.
        entries = list(own.values()) if isinstance(own, Mapping) else []
        return next((facts for entry in entries if (facts := _network_facts(entry))), {})
    try:
        if tensor.dtype != torch.uint8 or tensor.numel() > MAX_MARKER:
            raise ValueError
        return _network_facts({"network_g": json.loads(bytes(tensor.flatten().tolist()))})
    except (ValueError, AttributeError, RecursionError):
        raise InputError(f"the tensor {MARKER} cannot be read; convert the weights again") from None


def _network_facts(entries: Any) -> Facts:
    network_g = entries.get("network_g") if isinstance(entries, Mapping) else None
    return {"network_g": dict(network_g)} if isinstance(network_g, Mapping) else {}


def facts_beside(content: Mapping[Any, Any]) -> Facts:
    """Facts from the key beside the weights; empty if there are none."""
    stated = content.get(FACTS_KEY)
    if not isinstance(stated, Mapping):
        return {}
    return {key: stated[key] for key in KNOWN if key in stated}


def to_header(facts: Facts) -> dict[str, str]:
    """Header of a safetensors file, which holds texts only."""
    texts = {key: value if key in TEXTS else json.dumps(value) for key, value in facts.items() if value is not None}
    return {"format": "pt", **texts}


def from_header(header: Mapping[str, str]) -> Facts:
    """Read the facts from the header of a safetensors file; anything else that a program wrote there is left out."""
    facts: Facts = {}
    for key in KNOWN:
        if key in header:
            try:
                facts[key] = header[key] if key in TEXTS else json.loads(header[key])
            except (ValueError, RecursionError):
                continue
    if not isinstance(facts.get("network_g", {}), dict):
        del facts["network_g"]
    return facts
