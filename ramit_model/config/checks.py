"""Checks beyond the schema: registry names, arguments, files, devices, and options that must fit together."""

import importlib.util
import os
import re
import shutil
from pathlib import Path
from typing import Any

from ramit_model.config.dataset_schema import CLEAN, DATASETS, PHOTOS
from ramit_model.config.metrics import check_metrics
from ramit_model.config.option_file import Options
from ramit_model.config.photo_sets import check_photos
from ramit_model.config.schema import RESTORATION_MODEL_OPTIONS, RESTORATION_MODEL_SCHEDULERS
from ramit_model.config.training_checks import check_training
from ramit_model.config.trials import attempt, try_losses, try_metrics
from ramit_model.config.validation import check_arguments, check_schema, find, suggest
from ramit_model.data.patches import PATCH_DATASETS
from ramit_model.inference.foreign import is_foreign
from ramit_model.system.errors import InputError
from ramit_model.system.files import check_folder
from ramit_model.system.surroundings import check_shared_memory

SET_NAME = re.compile(r"(?![\s.])[^/\\:*?\"<>|\x00-\x1f]{1,100}(?<![\s.])")
"""Name of a set, which names its tables and folders."""

FLOAT32 = 4
"""Bytes of a value of an image."""

WANDB_MODES = ("online", "offline", "disabled")

COMPILERS = ("c++", "g++", "clang++", "cl")


def check_options(options: Options, file: str, is_train: bool) -> None:
    """Check everything beyond the schema of a training or a test; the first mistake is an `InputError`."""
    import ramit_model

    ramit_model.register()
    from ramit_model.basicsr_bridge import MODEL_REGISTRY

    for key in ("name", "model_type", "num_gpu", "datasets", "network_g", "path"):
        if options.get(key) in (None, "", {}):
            raise InputError(f"{file}: {key}: is missing; add it")
    check_name(options["name"], file)
    _check_folders(options, is_train)
    find(MODEL_REGISTRY, options["model_type"], f"{file}: model_type")
    check_device(options, file)
    check_network(options, file)
    if is_foreign(options["network_g"]):
        _check_foreign(options, file, is_train)
    for phase, dataset in options["datasets"].items():
        check_dataset(dataset, phase, options, file, is_train)
    if is_train and "train" not in options["datasets"]:
        raise InputError(f"{file}: datasets.train: is missing; training needs it")
    state = options["path"].get("resume_state")
    if state is not None and not Path(state).expanduser().is_file():
        raise InputError(f"{file}: path.resume_state: {state}: no such file; check the path, or write ~ to do without")
    val = options.get("val") or {}
    check_part(val.get("suffix") or "", f"{file}: val.suffix")
    check_metrics(val.get("metrics") or {}, file)
    try_metrics(options, file)
    if val.get("tile") and options["model_type"] != "RestorationModel":
        raise InputError(f"{file}: val.tile: {options['model_type']} has none; use RestorationModel")
    if is_train:
        check_training(options, file)
        _check_schedule(options, file)
        _check_logger(options["logger"], f"{file}: logger")
        try_losses(options, file)
        _check_shared_memory(options, f"{file}: datasets.train")
        if options["model_type"] != "RestorationModel":
            for key in RESTORATION_MODEL_OPTIONS:
                if options["train"].get(key):
                    raise InputError(f"{file}: train.{key}: {options['model_type']} has none; use RestorationModel")
            if (kind := options["train"]["scheduler"]["type"]) in RESTORATION_MODEL_SCHEDULERS:
                where = f"{file}: train.scheduler.type"
                raise InputError(f"{where}: {options['model_type']} has no {kind}; use RestorationModel")
    elif val.get("save_img") and "suffix" not in val:
        raise InputError(f"{file}: val.suffix: is missing; add it (~ appends the name of the run to saved images)")


def check_part(name: Any, where: str) -> None:
    """Refuse what becomes a part of file names and would lead out of the folder of results."""
    if not str(name).isprintable() or str(name).startswith(".") or set("/\\") & set(str(name)):
        raise InputError(f"{where}: {name!r} leads to other folders; leave out / and \\ and a dot at the beginning")


def check_name(name: Any, file: str) -> None:
    """Refuse run names that are not safe folder names."""
    if not re.fullmatch(r"\w[\w.+-]*", str(name)):
        raise InputError(f"{file}: name: {name!r} names a folder; use letters, digits and . + - _ only")


def _check_folders(options: Options, is_train: bool) -> None:
    """Check that the folders of a run can be made."""
    homes = ["experiments"] if is_train else ["results"]
    if (options.get("logger") or {}).get("use_tb_logger") and is_train:
        homes.append("tb_logger")
    for home in homes:
        check_folder(Path(home, str(options["name"])))


def _check_shared_memory(options: Options, where: str) -> None:
    """Check that the batches that reading processes hold ready fit into the shared memory of this machine."""
    from ramit_model.training.schedule import Schedule

    dataset, world_size = options["datasets"]["train"], int(os.environ.get("WORLD_SIZE", "1"))
    stages = Schedule.from_options(options, world_size).stages
    channels, scale = 1 if dataset.get("color") else 3, options["scale"]
    pixels = max(stage.batch_size // world_size * stage.patch_size**2 * (1 + scale**2) for stage in stages)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    check_shared_memory(here * (dataset.get("num_worker_per_gpu") or 0), pixels * channels * FLOAT32, where)


def _check_logger(logger: Options, where: str) -> None:
    """Check that what logs a training is installed, and that what its curve is compared with is there."""
    from ramit_model.training.validation_history import read_history

    if other := logger.get("compare_with"):
        try:
            read_history(Path(other))
        except InputError as error:
            raise InputError(f"{where}.compare_with: {error}") from None
    mode = (logger.get("wandb") or {}).get("mode", "online")
    if mode not in WANDB_MODES:
        raise InputError(f"{where}.wandb.mode: must be {' or '.join(WANDB_MODES)}, not {mode!r}")
    project = (logger.get("wandb") or {}).get("project")
    if project is not None and not logger.get("use_tb_logger"):
        raise InputError(
            f"{where}.use_tb_logger: must be true with {where.rpartition(' ')[2]}.wandb; or write wandb: ~"
        )
    wanted = {"use_tb_logger": "tensorboard"} if logger.get("use_tb_logger") else {}
    for key, package in (wanted | ({"wandb": "wandb"} if project is not None else {})).items():
        if importlib.util.find_spec(package) is None:
            off = "false" if key == "use_tb_logger" else "~"
            raise InputError(f"{where}.{key}: {package} is not installed; pip install {package}, or write {key}: {off}")


def check_set_names(datasets: Options, file: str) -> None:
    """Refuse names of validation and test sets that are no safe file names, or that two sets have."""
    phases: dict[str, str] = {}
    for phase, block in datasets.items():
        if phase.partition("_")[0] == "train":
            continue
        name, where = str(block.get("name", "")), f"{file}: datasets.{phase}.name"
        if not SET_NAME.fullmatch(name):
            raise InputError(f"{where}: {name!r} names tables and folders of results; use letters, digits and . + - _")
        other = phases.setdefault(name.casefold(), phase)
        if other != phase:
            raise InputError(f"{where}: {name}: datasets.{other} is called so, too, and so are its results; rename one")


def check_device(options: Options, file: str) -> None:
    """Check that there are as many GPUs as `num_gpu` says."""
    import torch

    num_gpu, present = options["num_gpu"], torch.cuda.device_count()
    if num_gpu == "auto":
        return
    if type(num_gpu) is not int or num_gpu < 0:
        raise InputError(f"{file}: num_gpu: must be auto or a number from 0 up, not {num_gpu!r}")
    if num_gpu > present:
        raise InputError(f"{file}: num_gpu: {num_gpu} wanted, {present} found; write auto to use what is there")


def check_network(options: Options, file: str) -> None:
    """Build the network; ours on torch's meta device, which costs nothing."""
    import torch

    from ramit_model.basicsr_bridge import ARCH_REGISTRY

    block = options["network_g"]
    if not isinstance(block, dict) or "type" not in block:
        raise InputError(f"{file}: network_g.type: is missing; name a network, for example RAMiT")
    network = find(ARCH_REGISTRY, block["type"], f"{file}: network_g.type")
    check_arguments(network, block, f"{file}: network_g", ignore=("type",))
    if network.__module__.partition(".")[0] == "basicsr":
        for key in ("upscale", "scale"):
            if block.get(key, options["scale"]) != options["scale"]:
                raise InputError(
                    f"{file}: scale: is {options['scale']}, but network_g.{key} is {block[key]}; make them equal"
                )
    if network.__module__.partition(".")[0] == "ramit_arch":
        try:
            with torch.device("meta"):
                built = network(**{key: value for key, value in block.items() if key != "type"})
        except (ValueError, TypeError, RuntimeError) as error:
            raise InputError(f"{file}: network_g: {str(error).splitlines()[0]}") from None
    elif is_foreign(block):
        try:
            built = network(**{key: value for key, value in block.items() if key != "type"})
        except InputError as error:
            raise InputError(f"{file}: network_g.weights: {error}") from None
    else:
        with torch.random.fork_rng(devices=[]):  # others may read numbers from tensors, which meta tensors lack
            built = attempt(lambda arguments: network(**arguments), block, network, f"{file}: network_g")
    if getattr(built, "scale", options["scale"]) != options["scale"]:
        raise InputError(
            f"{file}: scale: is {options['scale']}, but network_g has scale {built.scale}; make them equal"
        )
    warm_start = (options.get("train") or {}).get("warm_start") or {}
    modules = dict(built.named_modules())
    for name in warm_start.get("trainable", ()):
        if name not in modules:
            where = f"{file}: train.warm_start.trainable"
            raise InputError(f"{where}: {name!r} is not a module of {block['type']}{suggest(name, modules)}")
    _check_channels(built, options, file)


def _check_foreign(options: Options, file: str, is_train: bool) -> None:
    """Refuse what a network that a file describes cannot do."""
    kind = options["network_g"]["type"]
    if is_train:
        raise InputError(f"{file}: network_g.type: {kind} is for tests and benchmarks; train with a registered network")
    if options["path"].get("pretrain_network_g") is not None:
        raise InputError(f"{file}: path.pretrain_network_g: type {kind} has its file in network_g.weights; write ~")


def _check_channels(network: Any, options: Options, file: str) -> None:
    """Check that data sets give as many channels as our own networks take."""
    wanted = getattr(network, "in_channels", None)
    for phase, dataset in options["datasets"].items():
        if wanted is None or not isinstance(dataset, dict) or str(dataset.get("type")) not in DATASETS:
            continue
        given = 1 if dataset.get("color") else 3
        if given != wanted:
            raise InputError(
                f"{file}: datasets.{phase}.color: gives {given} channel(s), but network_g takes {wanted}; "
                "make them fit (gray denoising: color: gray and task: GDN)"
            )


def _check_schedule(options: Options, file: str) -> None:
    """Check that the schedule is consistent and that every batch divides evenly among the processes."""
    from ramit_model.training.schedule import Schedule

    world_size, train = int(os.environ.get("WORLD_SIZE", "1")), options["train"]
    try:
        schedule = Schedule.from_options(options, world_size)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    periods = train["scheduler"].get("periods")
    if periods and options["model_type"] != "RestorationModel" and sum(periods) < train["total_iter"]:
        raise InputError(
            f"{file}: train.scheduler.periods: end after {sum(periods)} iterations, but total_iter is "
            f"{train['total_iter']}; lengthen the last one"
        )
    parts = world_size * train.get("accumulate", 1)
    for stage in schedule.stages:
        if stage.batch_size % parts:
            raise InputError(
                f"{file}: a batch of {stage.batch_size} cannot be shared out evenly over {world_size} processes times "
                f"train.accumulate {train.get('accumulate', 1)}; change one of them"
            )
    if train.get("compile"):
        check_compiler(f"{file}: train.compile")
    if train.get("warm_start") and options["path"].get("pretrain_network_g") is None:
        raise InputError(f"{file}: path.pretrain_network_g: is missing; train.warm_start begins with trained weights")


def check_compiler(where: str) -> None:
    """Check that there is a C++ compiler, which torch.compile needs."""
    if not any(map(shutil.which, COMPILERS)):
        raise InputError(f"{where}: torch.compile needs a C++ compiler and none is found; install g++")


def check_dataset(dataset: Options, phase: str, options: Options, file: str, is_train: bool) -> None:
    """Check that a data set is complete, that its folders are there, and that it fits the other options."""
    from ramit_model.basicsr_bridge import DATASET_REGISTRY

    where = f"{file}: datasets.{phase}"
    kind = phase.partition("_")[0]
    allowed = ("train", "val") if is_train else ("val", "test")
    if kind not in allowed:
        verb = "train" if is_train else "test"
        raise InputError(
            f"{where}: {verb} takes data sets called {' or '.join(allowed)} (val_1, ...); rename or remove it"
        )
    if not isinstance(dataset, dict) or "type" not in dataset:
        raise InputError(f"{where}.type: is missing; add it, for example PairedRestorationDataset")
    find(DATASET_REGISTRY, dataset["type"], f"{where}.type")
    check_part(dataset.get("name", ""), f"{where}.name")
    if dataset["type"] not in DATASETS:
        return
    for_training, for_tests = DATASETS[dataset["type"]]
    check_schema(for_training if kind == "train" else for_tests, dataset, f"{where}.")
    for key in ("dataroot_lq", "dataroot_gt"):
        if dataset.get(key) is not None:
            leave_out = f", or leave the set out: --force_yml datasets:{phase}=none" if kind != "train" else ""
            backend = (dataset.get("io_backend") or {"type": "disk"})["type"]
            _check_dataroot(dataset[key], backend, f"{where}.{key}", leave_out)
    meta_info = dataset.get("meta_info_file")
    if meta_info is not None and not Path(meta_info).is_file():
        raise InputError(f"{where}.meta_info_file: {meta_info}: no such file; write ~ to take the whole folder")
    if dataset["type"] == CLEAN and options["scale"] != 1:
        raise InputError(f"{file}: scale: is {options['scale']}, but {CLEAN} in {where} adds noise only; write 1")
    if dataset["type"] == PHOTOS:
        check_photos(dataset, kind, options, where)
    if kind == "train":
        _check_train_dataset(dataset, options, where)


def _check_train_dataset(dataset: Options, options: Options, where: str) -> None:
    progressive = (options.get("train") or {}).get("progressive")
    for key in ("gt_size", "batch_size_per_gpu"):
        if progressive and dataset.get(key) is not None:
            raise InputError(f"{where}.{key}: train.progressive sets it for each stage; remove one of the two")
        if not progressive and dataset.get(key) is None:
            raise InputError(f"{where}.{key}: is missing; add it")
    for key, wanted in (("train.progressive", progressive), ("sub_images", dataset.get("sub_images"))):
        if wanted and dataset["type"] not in PATCH_DATASETS:
            raise InputError(f"{where}.type: {dataset['type']} knows no {key}; use {' or '.join(PATCH_DATASETS)}")
    if not progressive and dataset["gt_size"] % options["scale"]:
        raise InputError(f"{where}.gt_size: {dataset['gt_size']} is not a multiple of scale {options['scale']}")
    sigma = dataset.get("sigma")
    if sigma and sigma[0] > sigma[1]:
        raise InputError(f"{where}.sigma: {sigma}: the first limit is the lower one; swap them")
    if dataset.get("persistent_workers") and not dataset["num_worker_per_gpu"]:
        raise InputError(f"{where}.persistent_workers: needs num_worker_per_gpu above 0; raise it, or write false")
    if dataset.get("prefetch_mode") == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise InputError(f"{where}.prefetch_mode: cuda needs a GPU and none is found; write ~")


def _check_dataroot(root: str, backend: str, where: str, leave_out: str) -> None:
    """Check that the folder is there and, with `lmdb`, that it is an LMDB that BasicSR can read."""
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"{where}: {root}: no such folder; prepare it (basicsr prepare list), change the path{leave_out}"
        )
    if backend == "lmdb":
        if folder.suffix != ".lmdb":
            raise InputError(f"{where}: {root}: an LMDB folder ends in .lmdb; or set io_backend.type: disk")
        for name in ("data.mdb", "meta_info.txt"):
            if not (folder / name).is_file():
                raise InputError(f"{where}: {root}: has no {name}, so it is not a complete LMDB; prepare it again")
    elif backend == "disk" and folder.suffix == ".lmdb":
        raise InputError(f"{where}: {root}: is an LMDB; set io_backend.type: lmdb")
    elif backend not in ("disk", "memcached"):
        raise InputError(f"{where.rpartition('.')[0]}.io_backend.type: {backend!r} is unknown; use disk or lmdb")
