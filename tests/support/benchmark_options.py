"""Options of a tiny benchmark, weights for it, and a way to run it without further processes."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.archs import build_network
from helpers import TINY, metrics

from ramit_model.benchmark import run
from ramit_model.benchmark.measure import cost, counting, fingerprints, quality, restoring

NETWORKS = {
    "tiny": TINY,
    "wide": {**TINY, "dim": 32},
    "plain": {"type": "MSRResNet", "num_feat": 4, "num_block": 1, "upscale": 2},
}
"""Two of ours, one of BasicSR's."""


def benchmark_options(pairs: Path, weights: dict[str, Path] | None = None, **changes: Any) -> dict[str, Any]:
    """Options of a benchmark on nine pairs, with a case for the forward pass and one for training."""
    given = {name: str(path) for name, path in (weights or {}).items()}
    options = {
        "name": "tiny",
        "scale": 2,
        "num_gpu": 0,
        "networks": {name: {"network_g": net, "weights": given.get(name)} for name, net in NETWORKS.items()},
        "datasets": {
            "test_1": {
                "name": "pairs",
                "type": "PairedRestorationDataset",
                "io_backend": {"type": "lmdb"},
                "dataroot_gt": str(pairs / "HR.lmdb"),
                "dataroot_lq": str(pairs / "LR_bicubic_X2.lmdb"),
            }
        },
        "val": {"metrics": metrics()},
        "cost": {"inputs": [[24, 16]], "train": [[16, 16, 2]], "runs": 3, "warmup": 1},
        "strips": [{"dataset": "pairs", "image": "p1", "crop": [4, 8, 24, 16]}],
    }
    return deepcopy({**options, **changes})


def save_weights(path: Path, name: str = "tiny", seed: int = 0) -> Path:
    """Save random weights of one of `NETWORKS` as BasicSR does."""
    torch.manual_seed(seed)
    torch.save({"params": build_network(deepcopy(NETWORKS[name])).state_dict()}, path)
    return path


def measure_in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let a benchmark start no process, as one takes seconds to start; what it would give processes to do is noted."""
    started: list[Any] = []

    def here(function: Callable[..., Iterator[Any]], *args: Any, **kwargs: Any) -> Iterator[Any]:
        started.append((function, *args))
        return function(*args, **kwargs)

    for module in (quality, cost, run):
        monkeypatch.setattr(module, "isolated", here)
    for module in (restoring, cost, counting):
        monkeypatch.setattr(module, "prepare_process", lambda: None)
    monkeypatch.setattr(run, "be_quiet", lambda: None)
    # Files are taken to stay as they are for as long as a command runs.
    fingerprints._sha256.cache_clear()
    return started
