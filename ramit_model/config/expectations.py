"""Curves that the trainings of `options/check_*.yml` are expected to show, recorded in `options/expected.json`."""

import hashlib
import json
import os
from typing import Any

from ramit_model.config.option_file import Options, recipe_folder
from ramit_model.training.expectation import Expected

FILE = "expected.json"

IRRELEVANT = ("dataroot_gt", "dataroot_lq", "io_backend", "num_worker_per_gpu", "pin_memory", "prefetch_mode", "phase")
"""Options of data sets that change no result."""


def recorded_curves() -> dict[str, list[Expected]]:
    """Name of an option file -> what its training comes to, as recorded."""
    return {name: _curve(entry) for name, entry in _recorded().items()}


def expected_curve(options: Options) -> list[Expected]:
    """Averages that a training comes to; empty unless one with the same options was recorded.

    Args:
        options: Options of a training; its name, seed, folders, workers and log may be others.
    """
    fingerprint = fingerprint_of(options)
    known = (_curve(entry) for entry in _recorded().values() if entry["options"] == fingerprint)
    return next(known, [])


def fingerprint_of(options: Options) -> str:
    """Fingerprint of all options that decide what a training comes to, but for the seed."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    datasets: dict[str, Any] = {
        phase: {key: value for key, value in block.items() if key not in IRRELEVANT}
        for phase, block in options["datasets"].items()
    }
    if "batch_size_per_gpu" in datasets.get("train", {}):
        datasets["train"]["batch_size_per_gpu"] *= processes
    val = options.get("val") or {}
    decisive = {
        "datasets": datasets,
        "weights": options["path"].get("pretrain_network_g"),
        "val": {key: val.get(key) for key in ("sigma", "metrics", "tile")},
        **{key: options.get(key) for key in ("model_type", "scale", "network_g", "train")},
    }
    text = json.dumps(decisive, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _curve(entry: dict[str, Any]) -> list[Expected]:
    return [Expected(*row) for row in entry["curve"]]


def _recorded() -> dict[str, Any]:
    path = recipe_folder() / FILE
    recorded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return recorded
