"""Lets BasicSR 1.4.2 import, resume and run distributed on today's Python and PyTorch, with and without a GPU.

Every mend is made from outside, changes nothing where BasicSR is healthy, and may be made twice. `mend()` makes all of
them; it runs whenever `ramit_arch` is imported, so that spawned DataLoader workers have them too.
"""

import importlib
import os
import random
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch


def mend() -> None:
    """Import BasicSR, with every mend that this machine needs.

    Raises:
        ImportError: What is imported as `basicsr` is not the BasicSR package.
    """
    mend_torchvision_operators()
    mend_functional_tensor()
    import_basicsr()
    mend_cpu_resume()
    mend_cpu_distributed()
    mend_lmdb_reopening()
    mend_prefetching()
    mend_worker_seeds()


def mend_torchvision_operators() -> None:
    """Declare `torchvision::nms` where torchvision's own operators did not load.

    Serves a CPU-only torch beside a torchvision built for CUDA (seen with torch 2.13 and torchvision 0.28): importing
    torchvision then ends with "operator torchvision::nms does not exist". BasicSR calls none of these operators.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")
        # The declarations vanish with their library.
        sys.modules["torchvision"].__dict__["_declared_operators"] = library


def mend_functional_tensor() -> None:
    """Offer `torchvision.transforms.functional_tensor`, which torchvision 0.17 removed and BasicSR <= 1.4.2 imports."""
    name = "torchvision.transforms.functional_tensor"
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        module = types.ModuleType(name, "Stands in for the module that torchvision 0.17 removed.")
        functional = importlib.import_module("torchvision.transforms.functional")
        module.__dict__["rgb_to_grayscale"] = functional.rgb_to_grayscale
        sys.modules[name] = module


def import_basicsr() -> None:
    """Import BasicSR and make sure that it is BasicSR.

    Raises:
        ImportError: A folder called `basicsr` in the current directory or on PYTHONPATH hides the package.
    """
    try:
        module = importlib.import_module("basicsr")
        importlib.import_module("basicsr.train")
        healthy = hasattr(module, "__version__")
    except ModuleNotFoundError as error:
        if "basicsr" not in sys.modules or not str(error.name).startswith("basicsr."):
            raise
        healthy = False
    if not healthy:
        module = sys.modules["basicsr"]
        place = module.__file__ or next(iter(module.__path__))
        message = f"{place}: this 'basicsr' is not the BasicSR package and hides it; rename or remove it"
        raise ImportError(message, name="basicsr")


def mend_cpu_resume() -> None:
    """Let a training resume without a GPU: BasicSR <= 1.4.2 asks for the current CUDA device to load its state."""
    train = importlib.import_module("basicsr.train")
    _replace_without_cuda(train, "load_resume_state", load_resume_state_on_cpu)


def mend_cpu_distributed() -> None:
    """Let several processes train without a GPU: BasicSR <= 1.4.2 sets CUDA devices and uses NCCL throughout."""
    options = importlib.import_module("basicsr.utils.options")
    base_model = importlib.import_module("basicsr.models.base_model")
    _replace_without_cuda(options, "init_dist", init_dist_on_cpu)
    _replace_without_cuda(base_model.BaseModel, "model_to_device", model_to_cpu)


def mend_lmdb_reopening() -> None:
    """Let data sets of one process read the same LMDB, which lmdb 3.0 refuses to open twice."""
    file_client = importlib.import_module("basicsr.utils.file_client")
    original = file_client.LmdbBackend
    if "SharedLmdbBackend" in vars(file_client):
        return

    class SharedLmdbBackend(original):  # type: ignore[misc,valid-type]
        """BasicSR's LMDB backend; an environment that this process has open already is used again."""

        def __init__(self, db_paths: str | list[str], client_keys: str | list[str] = "default", **kwargs: Any) -> None:
            paths = db_paths if isinstance(db_paths, list) else [db_paths]
            keys = client_keys if isinstance(client_keys, list) else [client_keys]
            self.db_paths = [str(path) for path in paths]
            self._client = {
                key: _open_lmdb(os.path.realpath(path), **kwargs) for key, path in zip(keys, self.db_paths, strict=True)
            }

    vars(file_client)["SharedLmdbBackend"] = SharedLmdbBackend
    file_client.FileClient._backends["lmdb"] = SharedLmdbBackend


_open_environments: dict[str, tuple[int, Any]] = {}


def _open_lmdb(path: str, *, readonly: bool = True, lock: bool = False, readahead: bool = False) -> Any:
    """An LMDB environment, opened with BasicSR's defaults once a process."""
    import lmdb

    process, environment = _open_environments.get(path, (None, None))
    if process != os.getpid():
        if environment is not None:  # a forked DataLoader worker may not use what its parent opened
            environment.close()
        environment = lmdb.open(path, readonly=readonly, lock=lock, readahead=readahead)
        _open_environments[path] = (os.getpid(), environment)
    return environment


def mend_prefetching() -> None:
    """Hand an error in the thread of `prefetch_mode: cpu` on: BasicSR <= 1.4.2 waits for ever for what never comes."""
    generator = importlib.import_module("basicsr.data.prefetch_dataloader").PrefetchGenerator
    generator.run, generator.__next__ = _prefetch, _next_prefetched


def _prefetch(self: Any) -> None:
    try:
        for item in self.generator:
            self.queue.put(item)
        self.queue.put(None)
    except Exception as error:
        self.queue.put(error)


def _next_prefetched(self: Any) -> Any:
    item = self.queue.get()
    if item is None:
        raise StopIteration
    if isinstance(item, Exception):
        raise item
    return item


def mend_worker_seeds() -> None:
    """Let crops and flips differ from epoch to epoch: BasicSR <= 1.4.2 seeds its workers alike whenever they start."""
    data: Any = importlib.import_module("basicsr.data")
    data.worker_init_fn = seed_worker


def seed_worker(worker_id: int, num_workers: int, rank: int, seed: int) -> None:
    """Seed numpy's and Python's generators of a DataLoader worker from torch's, which is another in every epoch."""
    fresh = torch.initial_seed() % 2**32
    np.random.seed(fresh)
    random.seed(fresh)


def load_resume_state_on_cpu(opt: dict[str, Any]) -> dict[str, Any] | None:
    """`basicsr.train.load_resume_state`, with the state loaded into host memory."""
    from basicsr.utils import check_resume

    path = opt["path"].get("resume_state")
    if opt["auto_resume"]:
        path = next(map(str, training_states(opt["name"])), None)
        opt["path"]["resume_state"] = path
    if not path:
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    check_resume(opt, state["iter"])
    return state


def training_states(name: str) -> list[Path]:
    """The training states of the run `name` under the current folder, the highest iteration first."""
    states = Path("experiments", name, "training_states").glob("*.state")
    return sorted((state for state in states if state.stem.isdigit()), key=lambda state: -int(state.stem))


def init_dist_on_cpu(launcher: str, backend: str = "gloo", port: int | None = None, **kwargs: Any) -> None:
    """`basicsr.utils.dist_util.init_dist` for processes without a GPU: the backend is always gloo.

    Args:
        launcher: "pytorch" (torchrun sets the environment) or "slurm".
        backend: Ignored; option files name NCCL, which needs GPUs.
        port: Port of the first process; only Slurm needs it.
        kwargs: Passed to `torch.distributed.init_process_group`, as BasicSR does.

    Raises:
        ValueError: Another launcher.
    """
    if launcher == "slurm":
        _slurm_environment(port)
    elif launcher != "pytorch":
        raise ValueError(f"Invalid launcher type: {launcher}")
    if torch.multiprocessing.get_start_method(allow_none=True) is None:
        torch.multiprocessing.set_start_method("spawn")
    torch.distributed.init_process_group(backend="gloo", **kwargs)


def _slurm_environment(port: int | None) -> None:
    """Translate Slurm's variables into those that torch.distributed reads; a MASTER_ADDR that is set stays."""
    env = os.environ
    env["RANK"], env["WORLD_SIZE"] = env["SLURM_PROCID"], env["SLURM_NTASKS"]
    env["LOCAL_RANK"] = env.get("SLURM_LOCALID", "0")
    if port is not None:
        env["MASTER_PORT"] = str(port)
    env.setdefault("MASTER_PORT", "29500")
    if "MASTER_ADDR" not in env:
        hosts = subprocess.run(
            ["scontrol", "show", "hostname", env["SLURM_NODELIST"]], check=True, capture_output=True, text=True
        )
        env["MASTER_ADDR"] = hosts.stdout.split()[0]


def model_to_cpu(self: Any, net: torch.nn.Module) -> torch.nn.Module:
    """`BaseModel.model_to_device` for processes without a GPU: DistributedDataParallel gets no device ids."""
    net = net.to(self.device)
    if self.opt["dist"]:
        find_unused = self.opt.get("find_unused_parameters", False)
        net = torch.nn.parallel.DistributedDataParallel(net, find_unused_parameters=find_unused)
    return net


def _replace_without_cuda(owner: Any, name: str, replacement: Callable[..., Any]) -> None:
    """Bind `replacement` in place of `owner.name` where the machine has no GPU."""
    if not torch.cuda.is_available():
        setattr(owner, name, replacement)
