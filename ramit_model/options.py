"""Read BasicSR option files as plain data and check them before anything runs: one line for the first mistake."""

import copy
import difflib
import inspect
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from ramit_model.errors import InputError
from ramit_model.patches import DRAWN

Options = dict[str, Any]


# Reading -------------------------------------------------------------------------------------------------------------


class _PlainLoader(yaml.SafeLoader):
    """YAML without Python tags; a key that stands twice in one mapping is an error. Merge keys (`<<`) work."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key in seen and key_node.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key}' stands twice; keep one", key_node.start_mark
                )
            seen.add(str(key))
        return super().construct_mapping(node, deep)


def read_yaml(path: str | os.PathLike[str]) -> Options:
    """Parse an option file.

    Raises:
        InputError: The file is missing, no YAML, no mapping, has a Python tag or a duplicate key.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        near = difflib.get_close_matches(Path(path).name, _names_beside(path), n=1)
        hint = f"did you mean {Path(path).with_name(near[0])}?" if near else "check the path"
        raise InputError(f"{path}: no such option file; {hint}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; -opt takes a YAML option file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; -opt takes a YAML option file") from None
    try:
        options = yaml.load(text, Loader=_PlainLoader)  # noqa: S506  a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = error.problem or "no valid YAML"
        if "could not determine a constructor for the tag" in problem:
            tag = problem.rpartition("tag ")[2].replace("tag:yaml.org,2002:", "!!")
            problem = f"the tag {tag} is refused: option files are plain data; remove it"
        raise InputError(f"{path}{line}: {problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: no valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(options, dict):
        raise InputError(f"{path}: holds no options; the file must be a mapping that begins with name: and model_type:")
    return options


def _names_beside(path: str | os.PathLike[str]) -> list[str]:
    folder = Path(path).parent
    return [p.name for p in folder.glob("*.yml")] if folder.is_dir() else []


def override(options: Options, entries: Iterable[str], path: str | os.PathLike[str]) -> None:
    """Set single options in place, as BasicSR's `--force_yml key:subkey=value` does, without executing anything.

    Args:
        options: Parsed option file.
        entries: `key:subkey=value`; the value is read as YAML (and `none` as empty).
        path: The option file, for messages.

    Raises:
        InputError: An entry has no `=`, names a block that is not there, or its value is no YAML.
    """
    for entry in entries:
        keys, equals, text = entry.partition("=")
        if not equals:
            raise InputError(f"--force_yml {entry}: write key:subkey=value")
        *parents, last = (key.strip() for key in keys.split(":"))
        block: Any = options
        for depth, key in enumerate(parents):
            block = block.get(key)
            if not isinstance(block, dict):
                raise InputError(f"--force_yml {entry}: {path} has no block {':'.join(parents[: depth + 1])}")
        try:
            block[last] = None if text.strip().lower() == "none" else yaml.load(text, Loader=_PlainLoader)  # noqa: S506
        except (yaml.YAMLError, ValueError):
            raise InputError(f"--force_yml {entry}: the value is no valid YAML") from None
        if isinstance(block[last], str) and text.strip().startswith("!!float"):
            block[last] = float(block[last])


# Form ----------------------------------------------------------------------------------------------------------------


class _Block(BaseModel):
    """A mapping whose keys are all known; numbers must be numbers."""

    # BasicSR calls an option model_type; pydantic keeps model_ for itself unless told otherwise.
    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


class _Typed(BaseModel):
    """A `type` from a registry, with its arguments."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: str


_Natural = Annotated[int, Field(gt=0)]
_Positive = Annotated[float, Field(gt=0)]
_Sigma = Annotated[float, Field(ge=0, le=255)]


class _Dataset(_Block):
    name: str
    type: str
    meta_info_file: str | None = None
    io_backend: _Typed
    # Train only; BasicSR's own files have them in validation blocks too.
    gt_size: _Natural | None = None
    use_hflip: bool | None = None
    use_rot: bool | None = None
    use_shuffle: bool | None = None
    num_worker_per_gpu: Annotated[int, Field(ge=0)] | None = None
    batch_size_per_gpu: _Natural | None = None
    dataset_enlarge_ratio: _Natural = 1
    prefetch_mode: Literal["cpu", "cuda"] | None = None
    num_prefetch_queue: _Natural = 1
    pin_memory: bool = False
    persistent_workers: bool = False


class _SingleDataset(_Dataset):
    dataroot_lq: str
    dataroot_gt: str | None = None
    filename_tmpl: str = "{}"
    color: Literal["y"] | None = None
    mean: list[float] | None = None
    std: list[float] | None = None


class _PairedDataset(_SingleDataset):
    dataroot_gt: str


class _PairedTrainDataset(_PairedDataset):
    use_hflip: bool
    use_rot: bool
    sub_images: bool = False
    num_worker_per_gpu: Annotated[int, Field(ge=0)]


class _CleanDataset(_Dataset):
    dataroot_gt: str
    color: Literal["gray"] | None = None
    sigma: _Sigma | None = None


class _CleanTrainDataset(_CleanDataset):
    sigma: Annotated[list[_Sigma], Field(min_length=2, max_length=2)]  # type: ignore[assignment]
    use_hflip: bool
    use_rot: bool
    sub_images: bool = False
    num_worker_per_gpu: Annotated[int, Field(ge=0)]


class _Path(_Block):
    pretrain_network_g: str | None = None
    strict_load_g: bool = True
    param_key_g: str | None = "params"
    resume_state: str | None = None
    ignore_resume_networks: list[str] | None = None


class _Progressive(_Block):
    iters: Annotated[list[_Natural], Field(min_length=1)]
    patch_sizes: list[_Natural]
    batch_sizes: list[_Natural]


class _WarmStart(_Block):
    iters: _Natural
    trainable: Annotated[list[str], Field(min_length=1)]


class _MultiStep(_Block):
    type: str
    milestones: list[int]
    gamma: float = 0.1
    restarts: list[int] = [0]
    restart_weights: list[float] = [1]


class _CosineAnnealing(_Block):
    type: str
    periods: Annotated[list[_Natural], Field(min_length=1)]
    restart_weights: list[float] = [1]
    eta_min: float = 0


class _Train(_Block):
    total_iter: _Natural
    warmup_iter: int = -1
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0
    optim_g: _Typed
    scheduler: _Typed
    pixel_opt: _Typed | None = None
    perceptual_opt: _Typed | None = None
    # RestorationModel's own.
    progressive: _Progressive | None = None
    warm_start: _WarmStart | None = None
    amp: Literal["bfloat16", "float16"] | None = None
    grad_clip: _Positive | None = None
    accumulate: _Natural = 1
    compile: bool = False
    channels_last: bool = False


class _Val(_Block):
    save_img: bool
    val_freq: _Positive | None = None
    suffix: str | None = None
    pbar: bool = True
    metrics: dict[str, _Typed] | None = None
    sigma: Annotated[list[_Sigma], Field(min_length=1)] | None = None
    tb_images: Annotated[int, Field(ge=0)] = 0


class _TrainVal(_Val):
    val_freq: _Positive


class _Logger(_Block):
    print_freq: _Natural
    save_checkpoint_freq: _Positive
    use_tb_logger: bool
    wandb: dict[str, Any] | None = None


class _Common(_Block):
    name: Annotated[str, Field(min_length=1)]
    model_type: str
    scale: _Natural
    num_gpu: Any
    manual_seed: int | None = None
    datasets: dict[str, dict[str, Any]]
    network_g: _Typed
    path: _Path
    dist_params: dict[str, Any] | None = None
    find_unused_parameters: bool = False


class _TrainOptions(_Common):
    train: _Train
    val: _TrainVal | None = None
    logger: _Logger


class _TestOptions(_Common):
    val: _Val
    train: dict[str, Any] | None = None
    logger: dict[str, Any] | None = None


CHECKED_MODELS = ("RestorationModel", "SRModel")
OWN_TRAIN_OPTIONS = ("progressive", "warm_start", "amp", "grad_clip", "accumulate", "compile", "channels_last")
"""What of `train` only RestorationModel knows."""

SCHEDULER_FORMS = {
    "MultiStepLR": _MultiStep,
    "MultiStepRestartLR": _MultiStep,
    "CosineAnnealingRestartLR": _CosineAnnealing,
}

COMPILERS = ("c++", "g++", "clang++", "cl")

CLEAN = "CleanImageDataset"
DATASET_FORMS: dict[str, tuple[type[_Block], type[_Block]]] = {
    "PairedRestorationDataset": (_PairedTrainDataset, _PairedDataset),
    "PairedImageDataset": (_PairedTrainDataset, _PairedDataset),
    "SingleRestorationDataset": (_SingleDataset, _SingleDataset),
    "SingleImageDataset": (_SingleDataset, _SingleDataset),
    CLEAN: (_CleanTrainDataset, _CleanDataset),
}
"""Data set type -> forms for training, and for validation and test."""


def _check_form(form: type[_Block], block: Any, where: str) -> None:
    """Check `block` against `form`; `where` is file and key so far."""
    try:
        form.model_validate(block)
    except ValidationError as error:
        # A misspelt key is both unknown and missing: the unknown one explains more.
        problems = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
        raise InputError(f"{where}{_explain(problems[0], form)}") from None


def _explain(problem: ErrorDetails, form: type[BaseModel]) -> str:
    """One problem of pydantic's, in the words of someone who edits the option file."""
    location = [str(part) for part in problem["loc"]]
    key, value = ".".join(location), problem["input"]
    if problem["type"] == "extra_forbidden":
        return f"{key}: no such option{_suggest(location[-1], _fields_at(form, location[:-1]))}"
    if problem["type"] == "missing":
        return f"{key}: is missing; add it"
    if isinstance(value, str) and re.search(r"int|float|number|literal", problem["type"]) and _is_number(value):
        return f"{key}: YAML reads {value} as text; write {_as_yaml_number(value)}"
    expected = (
        problem["msg"]
        .replace("Input should be ", "")
        .replace("a valid integer", "an integer")
        .replace("a valid ", "a ")
    )
    return f"{key}: must be {expected}, not {value!r}"


def _fields_at(form: type[BaseModel], location: list[str]) -> list[str]:
    """The option names of the block at `location` inside `form`."""
    for name in location:
        annotation = form.model_fields[name].annotation
        candidates = (annotation, *getattr(annotation, "__args__", ()))
        form = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(form.model_fields)


def _suggest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known here: {', '.join(sorted(known))}" if len(known) <= 25 else ""


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _as_yaml_number(text: str) -> str:
    number = float(text)
    if number.is_integer() and abs(number) < 1e15:
        return str(int(number))
    mantissa, _, exponent = repr(number).partition("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}{'e' + exponent if exponent else ''}"


# Meaning -------------------------------------------------------------------------------------------------------------


def load_options(path: str | os.PathLike[str], *, is_train: bool, forced: Iterable[str] = ()) -> Options:
    """Read an option file, apply `--force_yml`, and check everything that can be known before the run.

    Args:
        path: YAML option file.
        is_train: Whether it is for `train` or for `test`.
        forced: Entries of `--force_yml`.

    Returns:
        The options as BasicSR's parser would return them.

    Raises:
        InputError: Something is wrong; one line with file, key and remedy.
    """
    options = read_yaml(path)
    override(options, forced, path)
    if isinstance(options.get("datasets"), dict):  # `--force_yml datasets:test_2=none` leaves a set out
        options["datasets"] = {phase: dataset for phase, dataset in options["datasets"].items() if dataset is not None}
    _check_numbers_as_text(options, f"{path}: ")
    model_type = options.get("model_type")
    if model_type is None or model_type in CHECKED_MODELS:
        _check_form(_TrainOptions if is_train else _TestOptions, options, f"{path}: ")
    _check_meaning(options, str(path), is_train)
    _test_at_each_sigma(options, str(path))
    return options


def _test_at_each_sigma(options: Options, file: str) -> None:
    """Replace each validation or test set of clean images by one for each noise level in `val.sigma`."""
    datasets: Options = {}
    for phase, dataset in options["datasets"].items():
        if phase == "train" or dataset["type"] != CLEAN or dataset.get("sigma") is not None:
            datasets[phase] = dataset
            continue
        levels = (options.get("val") or {}).get("sigma")
        if not levels:
            raise InputError(f"{file}: val.sigma: is missing; data set {dataset['name']} needs noise levels, like [25]")
        for sigma in levels:
            name = f"{dataset['name']}_sigma{sigma:g}"
            # Each its own blocks: BasicSR's data sets change theirs.
            datasets[f"{phase}_sigma{sigma:g}"] = {**copy.deepcopy(dataset), "name": name, "sigma": sigma}
    options["datasets"] = datasets


def _check_numbers_as_text(block: Mapping[Any, Any] | list[Any], where: str, key: str = "") -> None:
    """Refuse texts like 1e-4 wherever they stand: no option of BasicSR is such a text."""
    items = block.items() if isinstance(block, Mapping) else enumerate(block)
    for name, value in items:
        here = f"{key}.{name}" if key else str(name)
        if isinstance(value, (Mapping, list)):
            _check_numbers_as_text(value, where, here)
        elif isinstance(value, str) and re.fullmatch(r"[-+]?[\d.]+[eE][-+]?\d+", value) and _is_number(value):
            raise InputError(f"{where}{here}: YAML reads {value} as text; write {_as_yaml_number(value)}")
        elif value == "None":
            raise InputError(f"{where}{here}: YAML reads None as text; write ~ for no value")


def _check_meaning(options: Options, file: str, is_train: bool) -> None:
    """What a form cannot say: names in registries, arguments of what they name, files and folders, devices."""
    import ramit_model

    ramit_model.register()
    from basicsr.utils import registry

    for key in ("name", "model_type", "num_gpu", "datasets", "network_g", "path"):
        if options.get(key) in (None, "", {}):
            raise InputError(f"{file}: {key}: is missing; add it")
    if not re.fullmatch(r"\w[\w.+-]*", str(options["name"])):
        raise InputError(f"{file}: name: {options['name']!r} names a folder; use letters, digits and . + - _ only")
    _find(registry.MODEL_REGISTRY, options["model_type"], f"{file}: model_type")
    _check_device(options, file)
    _check_network(options, file)
    for phase, dataset in options["datasets"].items():
        _check_dataset(dataset, phase, options, file, is_train)
    if is_train and "train" not in options["datasets"]:
        raise InputError(f"{file}: datasets.train: is missing; training needs it")
    for key in ("pretrain_network_g", "resume_state"):
        value = options["path"].get(key)
        if value is not None and not Path(value).expanduser().is_file():
            raise InputError(f"{file}: path.{key}: {value}: no such file; check the path, or write ~ to do without")
    val = options.get("val") or {}
    for name, metric in (val.get("metrics") or {}).items():
        where = f"{file}: val.metrics.{name}"
        function = _find(registry.METRIC_REGISTRY, metric["type"], f"{where}.type")
        _check_arguments(function, metric, where, ignore=("type", "better"), given=("img", "img2"))
    if is_train:
        _check_training(options["train"], file)
        if options["model_type"] == "RestorationModel":
            _check_plan(options, file)
        else:
            for key in OWN_TRAIN_OPTIONS:
                if options["train"].get(key):
                    raise InputError(f"{file}: train.{key}: {options['model_type']} has none; use RestorationModel")
    elif val.get("save_img") and "suffix" not in val:
        raise InputError(f"{file}: val.suffix: is missing; add it (~ appends the name of the run to saved images)")


def _find(registry: Any, name: Any, where: str) -> Any:
    """The object called `name` in one of BasicSR's registries."""
    for candidate in (name, f"{name}_basicsr"):
        if candidate in registry:
            return registry.get(candidate)
    raise InputError(f"{where}: {name!r} is not registered{_suggest(str(name), registry.keys())}")


def _check_device(options: Options, file: str) -> None:
    import torch

    num_gpu, present = options["num_gpu"], torch.cuda.device_count()
    if num_gpu == "auto":
        return
    if type(num_gpu) is not int or num_gpu < 0:
        raise InputError(f"{file}: num_gpu: must be auto or a number from 0 up, not {num_gpu!r}")
    if num_gpu > present:
        raise InputError(f"{file}: num_gpu: {num_gpu} wanted, {present} found; write auto to use what is there")


def _check_network(options: Options, file: str) -> None:
    """Build our own networks on torch's meta device, which costs nothing; of others, check the argument names."""
    import torch
    from basicsr.utils.registry import ARCH_REGISTRY

    block = options["network_g"]
    if not isinstance(block, dict) or "type" not in block:
        raise InputError(f"{file}: network_g.type: is missing; name a network, for example RAMiT")
    network = _find(ARCH_REGISTRY, block["type"], f"{file}: network_g.type")
    _check_arguments(network, block, f"{file}: network_g", ignore=("type",))
    if network.__module__.partition(".")[0] == "basicsr":
        return
    try:
        with torch.device("meta"):
            built = network(**{key: value for key, value in block.items() if key != "type"})
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{file}: network_g: {str(error).splitlines()[0]}") from None
    if getattr(built, "scale", options["scale"]) != options["scale"]:
        raise InputError(
            f"{file}: scale: is {options['scale']}, but network_g has scale {built.scale}; make them equal"
        )
    warm_start = (options.get("train") or {}).get("warm_start") or {}
    modules = dict(built.named_modules())
    for name in warm_start.get("trainable", ()):
        if name not in modules:
            where = f"{file}: train.warm_start.trainable"
            raise InputError(f"{where}: {name!r} is no module of {block['type']}{_suggest(name, modules)}")
    _check_channels(built, options, file)


def _check_channels(network: Any, options: Options, file: str) -> None:
    """Our own networks say how many channels they take."""
    wanted = getattr(network, "in_channels", None)
    for phase, dataset in options["datasets"].items():
        if wanted is None or not isinstance(dataset, dict) or dataset.get("type") not in DATASET_FORMS:
            continue
        given = 1 if dataset.get("color") else 3
        if given != wanted:
            raise InputError(
                f"{file}: datasets.{phase}.color: gives {given} channel(s), but network_g takes {wanted}; "
                "make them fit (gray denoising: color: gray and task: GDN)"
            )


def _check_arguments(
    function: Callable[..., Any],
    block: Mapping[str, Any],
    where: str,
    *,
    ignore: tuple[str, ...] = (),
    given: tuple[str, ...] = (),
) -> None:
    """Every key of `block` is an argument of `function`, and every argument without a default is there."""
    parameters = inspect.signature(function).parameters
    names = [name for name, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    swallows = any(p.kind is p.VAR_KEYWORD for p in parameters.values()) and inspect.isclass(function)
    for key in block:
        if key not in names and key not in ignore and not swallows:
            raise InputError(f"{where}.{key}: no such option{_suggest(key, set(names) - set(given))}")
    for name in names:
        if parameters[name].default is inspect.Parameter.empty and name not in block and name not in given:
            raise InputError(f"{where}.{name}: is missing; add it")


def _check_plan(options: Options, file: str) -> None:
    """The schedule is consistent, and every batch can be shared out."""
    from ramit_model.curriculum import Curriculum

    world_size, train = int(os.environ.get("WORLD_SIZE", "1")), options["train"]
    try:
        curriculum = Curriculum.from_options(options, world_size)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    parts = world_size * train.get("accumulate", 1)
    for stage in curriculum.stages:
        if stage.batch_size % parts:
            raise InputError(
                f"{file}: a batch of {stage.batch_size} cannot be shared out evenly over {world_size} processes times "
                f"train.accumulate {train.get('accumulate', 1)}; change one of them"
            )
    if train.get("compile") and not any(map(shutil.which, COMPILERS)):
        raise InputError(f"{file}: train.compile: torch.compile needs a C++ compiler and none is found; install g++")
    if train.get("warm_start") and options["path"].get("pretrain_network_g") is None:
        raise InputError(f"{file}: path.pretrain_network_g: is missing; train.warm_start begins with trained weights")


def _check_training(train: Options, file: str) -> None:
    import torch
    from basicsr.utils.registry import LOSS_REGISTRY

    if not train.get("pixel_opt") and not train.get("perceptual_opt"):
        raise InputError(f"{file}: train.pixel_opt: is missing; a loss is needed, for example {{type: L1Loss}}")
    for key in ("pixel_opt", "perceptual_opt"):
        if train.get(key):
            loss = _find(LOSS_REGISTRY, train[key]["type"], f"{file}: train.{key}.type")
            _check_arguments(loss, train[key], f"{file}: train.{key}", ignore=("type",))
    if train["optim_g"]["type"] != "Adam":
        raise InputError(f"{file}: train.optim_g.type: BasicSR offers Adam only, not {train['optim_g']['type']!r}")
    _check_arguments(torch.optim.Adam, train["optim_g"], f"{file}: train.optim_g", ignore=("type",), given=("params",))
    form = _find(SCHEDULER_FORMS, train["scheduler"]["type"], f"{file}: train.scheduler.type")
    _check_form(form, train["scheduler"], f"{file}: train.scheduler.")


def _check_dataset(dataset: Options, phase: str, options: Options, file: str, is_train: bool) -> None:
    from basicsr.utils.registry import DATASET_REGISTRY

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
    _find(DATASET_REGISTRY, dataset["type"], f"{where}.type")
    if dataset["type"] not in DATASET_FORMS:
        return
    for_training, for_tests = DATASET_FORMS[dataset["type"]]
    _check_form(for_training if kind == "train" else for_tests, dataset, f"{where}.")
    for key in ("dataroot_lq", "dataroot_gt"):
        if dataset.get(key) is not None:
            _check_dataroot(dataset[key], dataset["io_backend"]["type"], f"{where}.{key}")
    meta_info = dataset.get("meta_info_file")
    if meta_info is not None and not Path(meta_info).is_file():
        raise InputError(f"{where}.meta_info_file: {meta_info}: no such file; write ~ to take the whole folder")
    if dataset["type"] == CLEAN and options["scale"] != 1:
        raise InputError(f"{file}: scale: is {options['scale']}, but {CLEAN} in {where} adds noise only; write 1")
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
        if wanted and dataset["type"] not in DRAWN:
            raise InputError(f"{where}.type: {dataset['type']} knows no {key}; use {' or '.join(DRAWN)}")
    if not progressive and dataset["gt_size"] % options["scale"]:
        raise InputError(f"{where}.gt_size: {dataset['gt_size']} is no multiple of scale {options['scale']}")
    if dataset["type"] == CLEAN and dataset["sigma"][0] > dataset["sigma"][1]:
        raise InputError(f"{where}.sigma: {dataset['sigma']}: the first limit is the lower one; swap them")
    if dataset.get("persistent_workers") and not dataset["num_worker_per_gpu"]:
        raise InputError(f"{where}.persistent_workers: needs num_worker_per_gpu above 0; raise it, or write false")
    if dataset.get("prefetch_mode") == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise InputError(f"{where}.prefetch_mode: cuda needs a GPU and none is found; write ~")


def _check_dataroot(root: str, backend: str, where: str) -> None:
    """The folder is there; with `lmdb`, it is an LMDB that BasicSR can read."""
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise InputError(f"{where}: {root}: no such folder; prepare it (basicsr prepare list), or change the path")
    if backend == "lmdb":
        if folder.suffix != ".lmdb":
            raise InputError(f"{where}: {root}: an LMDB folder ends in .lmdb; or set io_backend.type: disk")
        for name in ("data.mdb", "meta_info.txt"):
            if not (folder / name).is_file():
                raise InputError(f"{where}: {root}: has no {name}, so is no whole LMDB; prepare it again")
    elif backend == "disk" and folder.suffix == ".lmdb":
        raise InputError(f"{where}: {root}: is an LMDB; set io_backend.type: lmdb")
    elif backend not in ("disk", "memcached"):
        raise InputError(f"{where.rpartition('.')[0]}.io_backend.type: {backend!r} is unknown; use disk or lmdb")
