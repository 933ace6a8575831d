"""What several tests share: recorded values, reproducible weights, tiny options, the command in a subprocess."""

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from fork_server import ForkServer

import ramit_model
from ramit_model.config.options import load_options
from ramit_model.system.environment import DEFAULTS, FORCED
from ramit_model.system.errors import InputError

ramit_model.register()

from ramit_arch import NGswin, RAMiT

DATA = Path(__file__).parents[1] / "data"
REPOSITORY = Path(__file__).parents[2]

THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
"""Threads of a process: one each where several tests run at a time."""

TINY = {"type": "RAMiT", "scale": 2, "dim": 16, "depths": [1, 1, 1, 2], "neck_groups": 1}
"""`network_g` of a network that trains in milliseconds."""


def recorded(name: str) -> dict[str, Any]:
    """A file of `tests/data`."""
    return json.loads((DATA / f"{name}.json").read_text())


def network(name: str) -> RAMiT | NGswin:
    """The network called `<variant>_<task>` in the recorded files, for example RAMiT-1_x2, RAMiT_GDN or NGswin_x4."""
    variant, task = name.rsplit("_", 1)
    if variant == "NGswin":
        return NGswin(scale=int(task[1:]))
    if task.startswith("x"):
        return RAMiT(variant=variant, task="SR", scale=int(task[1:]))
    return RAMiT(variant=variant, task=task)


def fill(net: torch.nn.Module) -> torch.nn.Module:
    """Set weights that depend on names and shapes only: those that the recorded values belong to."""
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if not tensor.is_floating_point():
                continue
            values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(tensor.shape))
            if name.endswith("logit_scale"):
                values = np.log(10.0) + 0.3 * values
            elif name.endswith("relative_position_bias_table"):
                values = 0.5 * values
            elif tensor.ndim == 1:
                values = 1 + 0.1 * values if name.endswith("weight") else 0.05 * values
            else:
                values = values / np.sqrt(np.prod(tensor.shape[1:]))
            tensor.copy_(torch.from_numpy(values.astype(np.float32)))
    return net


def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth random colour picture, (height, width, 3) uint8."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3)).astype(np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def training_options(pairs: Path, **changes: Any) -> dict[str, Any]:
    """Options of a tiny training: 8 iterations, a checkpoint every 4, a validation at the end."""
    lmdb = {"type": "PairedRestorationDataset", "io_backend": {"type": "lmdb"}}
    roots = {"dataroot_gt": str(pairs / "HR.lmdb"), "dataroot_lq": str(pairs / "LR_bicubic_X2.lmdb")}
    options = {
        "name": "tiny",
        "model_type": "RestorationModel",
        "scale": 2,
        "num_gpu": 0,
        "manual_seed": 0,
        "datasets": {
            "train": {
                "name": "pairs",
                **lmdb,
                **roots,
                "gt_size": 32,
                "use_hflip": True,
                "use_rot": True,
                "num_worker_per_gpu": 0,
                "batch_size_per_gpu": 2,
                "dataset_enlarge_ratio": 4,
            },
            "val": {"name": "pairs", **lmdb, **roots},
        },
        "network_g": TINY,
        "path": {"pretrain_network_g": None, "strict_load_g": True, "resume_state": None},
        "train": {
            "total_iter": 8,
            "warmup_iter": 2,
            "optim_g": {"type": "Adam", "lr": 0.001, "betas": [0.9, 0.99]},
            "scheduler": {"type": "MultiStepLR", "milestones": [6], "gamma": 0.5},
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        },
        "val": {"val_freq": 8, "save_img": False, "metrics": metrics()},
        "logger": {"print_freq": 1, "save_checkpoint_freq": 4, "use_tb_logger": False, "learning_curve": False},
    }
    return {**options, **changes}


def metrics() -> dict[str, Any]:
    """PSNR and SSIM as x2 is tested."""
    border = {"crop_border": 2, "test_y_channel": True}
    return {"psnr": {"type": "calculate_psnr", **border}, "ssim": {"type": "calculate_ssim", **border}}


def testing_options(pairs: Path, weights: str | None = None, **changes: Any) -> dict[str, Any]:
    """Options of a test of the tiny network."""
    options = training_options(pairs, **changes)
    return {
        **{key: options[key] for key in ("name", "model_type", "scale", "num_gpu", "manual_seed", "network_g")},
        "datasets": {"test": options["datasets"]["val"]},
        "path": {"pretrain_network_g": weights, "strict_load_g": True},
        "val": {"save_img": True, "suffix": None, "metrics": metrics()},
    }


def run_basicsr(
    *arguments: str | Path, cwd: Path, env: dict[str, str] | None = None, fresh: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Run the `basicsr` command in a process of its own with `THREADS` threads, or in several with one each.

    What needs BasicSR is forked from a server that has imported it. A run that is to be `fresh`, one of several
    processes, and one with an environment of its own (`env`, or what a test has changed in `os.environ`) starts as a
    user's command does.
    """
    words = [str(argument) for argument in arguments]
    several = "--nproc" in words  # more threads than cores would wait for each other
    variables = {"OMP_NUM_THREADS": "1" if several else str(THREADS), **(env or {})}
    fresh |= several or variables.keys() > {"OMP_NUM_THREADS"} or environment() != AT_START
    if not fresh and words[0] in ("train", "test", "benchmark"):
        return fork_server(variables["OMP_NUM_THREADS"]).run(words, cwd, timeout=300)
    return subprocess.run(
        [sys.executable, "-m", "ramit_model", *words],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def environment() -> dict[str, str]:
    """Environment variables, without pytest's own and those that the command sets wherever it runs."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTEST_") and name not in DEFAULTS | FORCED
    }


AT_START = environment()


@functools.cache
def fork_server(threads: str) -> ForkServer:
    """The server whose processes have `threads` threads each."""
    server = ForkServer({**os.environ, "OMP_NUM_THREADS": threads})
    atexit.register(server.close)
    return server


def run_python(code: str, cwd: Path | None = None) -> str:
    """Run Python code in a fresh process and return what it prints; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def start_process(*arguments: str | Path, cwd: Path | None = None, **env: str) -> "subprocess.Popen[str]":
    """Start Python with these arguments in a group of processes of its own, as a terminal does."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What starts tests in the background may have Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def check_refused(path: Path, parts: Iterable[str]) -> None:
    """Check that a training's option file is refused with one line that names it and has these parts."""
    import pytest  # scripts do without

    with pytest.raises(InputError) as caught:
        load_options(path, is_train=True)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for part in parts:
        assert part in message


def changed(options: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy with one option set, or removed if `value` is `...`; `datasets.train.gt_size` is such a key."""
    options = deepcopy(options)
    *parents, last = key.split(".")
    block = options
    for parent in parents:
        block = block[parent]
    if value is ...:
        del block[last]
    else:
        block[last] = value
    return options


def children(process: int) -> set[int]:
    """All that descend from a process and still run."""
    found: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == process and state != "Z":
            child = int(stat.parent.name)
            found |= {child} | children(child)
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    """Whether a condition comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()
