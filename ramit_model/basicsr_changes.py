"""The replacements that `basicsr_bridge.CHANGES` names: what BasicSR gets from us on today's Python and PyTorch."""

import importlib
import io
import itertools
import logging
import os
import random
import re
import subprocess
import sys
import time
import types
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ramit_model.system.files import write_text_atomically
from ramit_model.system.processes import leave_stopping_to_parent, patience

# Before BasicSR is imported -------------------------------------------------------------------------------------------


def import_torchvision_without_compiler() -> None:
    """Import torchvision with a stand-in for the one function of PyTorch's compiler that it imports."""
    name = "torch._dynamo.utils"
    if {"torchvision", "torch._dynamo"} & sys.modules.keys():
        return

    def is_compile_supported(device_type: Any) -> Any:
        return importlib.import_module(name).is_compile_supported(device_type)

    package, module = types.ModuleType("torch._dynamo"), types.ModuleType(name)
    package.__dict__["__path__"] = []
    module.__dict__["is_compile_supported"] = is_compile_supported
    sys.modules |= {"torch._dynamo": package, name: module}
    try:
        importlib.import_module("torchvision")
    except Exception:  # this torchvision wants more of the compiler, or is broken: whoever imports it next will see
        _forget("torchvision")
    finally:
        _forget("torch._dynamo")


def _forget(package: str) -> None:
    """Remove a package and its modules from those that are imported."""
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[name]


def declare_torchvision_operators() -> None:
    """Declare `torchvision::nms` where torchvision's own operators did not load; BasicSR calls none of them."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _forget("torchvision")
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")
        # The declarations vanish with their library.
        sys.modules["torchvision"].__dict__["_declared_operators"] = library


def provide_functional_tensor() -> None:
    """Provide `torchvision.transforms.functional_tensor` where torchvision no longer has it."""
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


# When BasicSR is imported ---------------------------------------------------------------------------------------------


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """`basicsr.train.load_resume_state`: see `ramit_model.training.resume`."""
    from ramit_model.training import resume  # needs BasicSR, which is being imported when this module is

    return resume.load_resume_state(opt)


def open_shared_lmdb(
    self: Any, db_paths: str | list[str], client_keys: str | list[str] = "default", **kwargs: Any
) -> None:
    """`LmdbBackend.__init__`; an environment that this process has open already is used again."""
    paths = db_paths if isinstance(db_paths, list) else [db_paths]
    keys = client_keys if isinstance(client_keys, list) else [client_keys]
    self.db_paths = [str(path) for path in paths]
    self._client = {
        key: _open_lmdb(os.path.realpath(path), **kwargs) for key, path in zip(keys, self.db_paths, strict=True)
    }


_open_environments: dict[str, tuple[int, Any]] = {}


def _open_lmdb(path: str, *, readonly: bool = True, lock: bool = False, readahead: bool = False) -> Any:
    """LMDB environment, opened with BasicSR's defaults once a process."""
    import lmdb

    process, environment = _open_environments.get(path, (None, None))
    if process != os.getpid():
        if environment is not None:  # a forked DataLoader worker may not use what its parent opened
            environment.close()
        environment = lmdb.open(os.fsencode(path), readonly=readonly, lock=lock, readahead=readahead)
        _open_environments[path] = (os.getpid(), environment)
    return environment


def prefetch(self: Any) -> None:
    """`PrefetchGenerator.run`, which hands an error on to whoever waits for the next item."""
    try:
        for item in self.generator:
            self.queue.put(item)
        self.queue.put(None)
    except Exception as error:
        self.queue.put(error)


def next_prefetched(self: Any) -> Any:
    """`PrefetchGenerator.__next__`, which raises the error that `prefetch` handed on."""
    item = self.queue.get()
    if item is None:
        raise StopIteration
    if isinstance(item, Exception):
        raise item
    return item


def put_aside(path: str) -> None:
    """Make a folder; what is there gets another name, with the time."""
    if Path(path).exists():
        name = f"{path}_archived_{time.strftime('%Y%m%d_%H%M%S')}"
        names = itertools.chain([name], (f"{name}_{i}" for i in itertools.count(2)))
        free = next(free for free in names if not Path(free).exists())
        print(f"Path already exists. Rename it to {free}", flush=True)
        Path(path).rename(free)
    Path(path).mkdir(parents=True, exist_ok=True)


def seed_worker(worker_id: int, num_workers: int, rank: int, seed: int) -> None:
    """Seed numpy's and Python's generators of a DataLoader worker from torch's, which is another in every epoch.

    Signals to stop are left to the training.
    """
    leave_stopping_to_parent()
    fresh = torch.initial_seed() % 2**32
    np.random.seed(fresh)
    random.seed(fresh)


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


# In the pipelines of the `basicsr` command ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """Training or test that the `basicsr` command starts.

    Attributes:
        options: Option file, parsed and checked.
        file: Path of the option file, which BasicSR copies into the experiment.
        launcher: none, pytorch or slurm.
        auto_resume: Go on from the newest checkpoint.
        debug: Log, save and validate every few iterations.
        verbose: Show everything on the terminal that the log file gets.
        problems: Lines about pictures that could not be restored; filled while it runs.
    """

    options: dict[str, Any]
    file: str
    launcher: str = "none"
    auto_resume: bool = False
    debug: bool = False
    verbose: bool = False
    problems: list[str] = field(default_factory=list)


_runs: list[Run] = []


def hand_over(run: Run) -> None:
    """Name the run whose options `parse_options` returns from now on."""
    _runs[:] = [run]


def note_problems(lines: Iterable[str]) -> None:
    """Add lines, each once, to the problems of the run that was handed over, if there is one."""
    for run in _runs:
        run.problems.extend(line for line in lines if line not in run.problems)


def parse_options(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], Namespace]:
    """`basicsr.utils.options.parse_options` of the run that was handed over: no file is read, no argument parsed.

    Starts the process group if there are several processes, and seeds all generators.

    Args:
        root_path: Folder that gets experiments/ or results/.
        is_train: Training or test.

    Returns:
        Options as BasicSR's pipelines want them, and the arguments that they ask for.
    """
    from ramit_model.basicsr_bridge import get_dist_info, init_dist, set_random_seed

    run = _runs[0]
    opt = run.options
    opt["dist"] = run.launcher != "none"
    if opt["dist"]:
        if run.launcher == "slurm":  # BasicSR's own function takes no time limit
            _slurm_environment((opt.get("dist_params") or {}).get("port"))
        init_dist("pytorch", timeout=patience(opt))
    opt["rank"], opt["world_size"] = get_dist_info()
    if opt.get("manual_seed") is None:
        opt["manual_seed"] = random.randint(1, 10000)  # noqa: S311  no secret
    set_random_seed(opt["manual_seed"] + opt["rank"])
    opt["auto_resume"], opt["is_train"] = run.auto_resume, is_train
    if run.debug and not opt["name"].startswith("debug"):
        opt["name"] = f"debug_{opt['name']}"
    if opt["num_gpu"] == "auto":
        opt["num_gpu"] = torch.cuda.device_count()
    for phase, dataset in opt["datasets"].items():
        dataset["phase"] = phase.partition("_")[0]
        dataset["scale"] = opt["scale"]
    _add_folders(opt, Path(root_path), is_train=is_train)
    if is_train and "debug" in opt["name"]:
        if "val" in opt:
            opt["val"]["val_freq"] = 8
        opt["logger"].update(print_freq=1, save_checkpoint_freq=8)
    return opt, Namespace(opt=run.file)


def copy_option_file(opt_file: str, experiments_root: str) -> None:
    """`basicsr.utils.options.copy_opt_file`: keep the option file in the experiment, in UTF-8, under time and command.

    Args:
        opt_file: The option file; may be the copy itself, as when a training goes on from its own folder.
        experiments_root: Folder of the experiment.
    """
    from ramit_model.config.option_file import decode

    if _runs[0].options["rank"] == 0:
        text = decode(Path(opt_file).read_bytes(), opt_file)
        head = f"# GENERATE TIME: {time.asctime()}\n# CMD:\n# {' '.join(sys.argv)}\n\n"
        write_text_atomically(head + text, Path(experiments_root, Path(opt_file).name))


def log_metrics(self: Any, current_iter: int | str, dataset_name: str, tb_logger: Any) -> None:
    """`SRModel._log_validation_metric_values`; a test, which has one result alone, names no best one."""
    from ramit_model.basicsr_bridge import original

    best = self.__dict__.pop("best_metric_results", None) if isinstance(current_iter, str) else None
    original("basicsr.models.sr_model:SRModel._log_validation_metric_values")(
        self, current_iter, dataset_name, tb_logger
    )
    if best is not None:
        self.best_metric_results = best


def start_log(
    logger_name: str = "basicsr", log_level: int = logging.INFO, log_file: str | None = None
) -> logging.Logger:
    """`basicsr.utils.get_root_logger`; the log file gets everything, the terminal what matters.

    Args:
        logger_name: Name of the logger.
        log_level: Level of the first process; the others log errors only.
        log_file: Path of the log file.
    """
    from ramit_model.basicsr_bridge import get_root_logger
    from ramit_model.training import terminal

    run = _runs[0]
    if log_file is not None:
        # BasicSR puts the verb before the name of the run, which often begins with it.
        path = Path(log_file)
        log_file = str(path.with_name(re.sub(r"^(train|test)_(?=\1_)", "", path.name)))
    logger: logging.Logger = get_root_logger(logger_name, log_level, log_file)
    for handler in logger.handlers:
        # BasicSR's has the encoding of the terminal.
        if isinstance(handler, logging.FileHandler) and isinstance(handler.stream, io.TextIOWrapper):
            handler.stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    if not run.verbose:
        terminal.only_what_matters(logger)
    logger.info(terminal.describe_run(run.options))
    return logger


def _add_folders(opt: dict[str, Any], root: Path, *, is_train: bool) -> None:
    """Name the folders of a run; BasicSR makes every one that it finds under `path`."""
    home = root / ("experiments" if is_train else "results") / opt["name"]
    folders = {"log": home, "visualization": home / "visualization"}
    if is_train:
        folders |= {
            "experiments_root": home,
            "models": home / "models",
            "training_states": home / "training_states",
        }
    else:
        folders["results_root"] = home
    opt["path"].update({key: str(folder) for key, folder in folders.items()})
