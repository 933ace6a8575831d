"""Resuming a training: the newest checkpoint that loads, the batch, the states of the random number generators."""

import io
import platform
import random
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ramit_model.basicsr_bridge import check_resume
from ramit_model.data.patches import PATCH_DATASETS
from ramit_model.inference.evaluation import gather
from ramit_model.inference.weight_files import read_checkpoint
from ramit_model.inference.weights import read_weights
from ramit_model.system.errors import InputError
from ramit_model.training.checkpoint import training_states


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Load the training state to resume from; replaces BasicSR's function of this name.

    `--auto_resume` takes the newest checkpoint that loads, and names those that it passes over; the first process
    chooses for all. Sets `opt["resume_iter"]` and `opt["batch"]`.

    Args:
        opt: Options after BasicSR's parser.

    Returns:
        The training state in host memory; None to start from the beginning.

    Raises:
        InputError: The state named in the options does not load, no checkpoint loads although there are some, or the
            processes cannot share out the batch.
    """
    path, state = opt["path"].get("resume_state"), None
    if opt["auto_resume"]:
        if opt["rank"] == 0:
            path, state = _newest_whole(opt["name"])
        opt["path"]["resume_state"] = path = gather([path])[0]
    if path and state is None:
        state = _read_state(_on_this_machine(Path(path)) if opt["auto_resume"] else Path(path))
    _keep_batch(opt, state or {})
    if state is None:
        return None
    with redirect_stdout(io.StringIO()):  # each process would say which weights it is going to load
        check_resume(opt, state["iter"])
    opt["resume_iter"] = state["iter"]
    if path:
        _continue_elsewhere(opt, Path(path))
    # Our data loader makes one epoch of the whole run, and BasicSR's loop must not begin after it.
    return {**state, "epoch": 0} if opt["datasets"]["train"]["type"] in PATCH_DATASETS else state


def _continue_elsewhere(opt: dict[str, Any], path: Path) -> None:
    """Take the weights beside the state, also if they are those of another run, and make the folders of this one.

    BasicSR looks for them in this run's own folder, and makes none when a training is resumed.
    """
    for key in [key for key in opt["path"] if key.startswith("pretrain_network_")]:
        own = Path(opt["path"][key] or "")
        beside = next((f for f in (path.parents[1] / "models" / own.name, path.parent / own.name) if f.is_file()), None)
        if own.name.endswith(f"_{opt['resume_iter']}.pth") and beside:
            opt["path"][key] = str(beside)
    if opt["rank"] == 0:
        for key in ("experiments_root", "models", "training_states", "visualization"):
            if key in opt["path"]:
                Path(opt["path"][key]).mkdir(parents=True, exist_ok=True)


def _on_this_machine(path: Path) -> Path:
    """A checkpoint that the first process, perhaps on another machine, has found."""
    if not path.is_file():
        raise InputError(
            f"{path.absolute()}: is on the machine of the first process, but not on {platform.node()}; start all of "
            "them in a folder that the machines share"
        )
    return path


def _keep_batch(opt: dict[str, Any], state: Mapping[str, Any]) -> None:
    """Let an iteration have as many patches as before when the number of processes has changed, and no option.

    Raises:
        InputError: They cannot be shared out evenly.
    """
    dataset, world_size = opt["datasets"]["train"], opt["world_size"]
    each, before = dataset.get("batch_size_per_gpu"), state.get("batch")
    if each is None or opt["train"].get("progressive"):  # the batches of its stages are those of all processes
        return
    opt["batch"] = {"each": each, "all": each * world_size}
    if not before or before["each"] != each or before["all"] == each * world_size:
        return
    whole = before["all"]
    if whole % (world_size * opt["train"].get("accumulate", 1)):
        raise InputError(
            f"experiments/{opt['name']}: a batch of {whole}, as before, cannot be shared out evenly over {world_size} "
            "processes; start another number of them, or set datasets.train.batch_size_per_gpu anew"
        )
    opt["batch"]["all"], dataset["batch_size_per_gpu"] = whole, whole // world_size
    if opt["rank"] == 0:
        shares = f"{whole // world_size} patches each, so that an iteration has {whole} as before"
        print(f"processes: {world_size} instead of {whole // each}; {shares}", file=sys.stderr, flush=True)


def _newest_whole(name: str) -> tuple[str | None, dict[str, Any] | None]:
    passed_over = []
    for path in training_states(name):
        try:
            state = _read_state(path)
            read_weights(path.parents[1] / "models" / f"net_g_{path.stem}.pth")
        except InputError as error:
            passed_over.append(path.name)
            print(f"--auto_resume passes over {path.name}: {error.line}", file=sys.stderr, flush=True)
        else:
            return str(path), state
    if passed_over:
        raise InputError(
            f"experiments/{name}: none of {len(passed_over)} checkpoints loads whole; remove or rename the folder to "
            "start over"
        )
    if Path("experiments", name).is_dir():
        print(f"--auto_resume: experiments/{name} has no checkpoint yet; the training starts over", file=sys.stderr)
    return None, None


def _read_state(path: Path) -> dict[str, Any]:
    state = read_checkpoint(path)
    if not isinstance(state, dict) or not {"epoch", "iter", "optimizers"} <= state.keys():
        raise InputError(f"{path}: not a training state; name a .state file")
    return state


def random_states() -> dict[str, Any]:
    """States of all random number generators of this process, as plain data."""
    _, keys, position, has_gauss, gauss = np.random.get_state()
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    """Restore the generators of this process from a result of `random_states`."""
    version, keys, gauss = states["python"]
    random.setstate((version, tuple(keys), gauss))
    keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"].cpu())
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())
