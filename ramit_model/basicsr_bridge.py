"""The one seam to BasicSR: every change made to it from outside, as one list, and the names that we use of it.

`install()` costs nothing until somebody imports BasicSR: then it makes the changes and enters our networks, data sets
and models into BasicSR's registries. The initialisers of `ramit_arch` and `ramit_model` call it, so no import order
needs guarding, not even in spawned workers.
"""

import importlib
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

DISTRIBUTIONS = ("basicsr", "my-basicsr")
"""Distributions of BasicSR 1.4.2, which own the same folder; setup.py says which is required where."""

CHANGES_IN = "ramit_model.basicsr_changes"
"""Module with the replacements."""


@dataclass(frozen=True)
class Change:
    """Change made to BasicSR, or to what it imports, from outside.

    Attributes:
        target: What is changed, `module:attribute`.
        why: Reason, in one sentence.
        versions: Versions that need it.
        by: Replacement of the target, `module:attribute`; or, with `when="before"`, function that makes the change.
        when: "before" BasicSR is imported; at its "import"; at its import "without CUDA"; in the "pipeline", when the
            `basicsr` command trains or tests.
    """

    target: str
    why: str
    versions: str
    by: str
    when: Literal["before", "import", "without CUDA", "pipeline"]


CHANGES = (
    Change(
        "torch._dynamo.utils:is_compile_supported",
        "To import this one function, torchvision imports PyTorch's compiler: a third of what all imports take.",
        "torchvision 0.29",
        f"{CHANGES_IN}:import_torchvision_without_compiler",
        "before",
    ),
    Change(
        "torchvision:ops.nms",
        "A CPU-only torch beside a torchvision built for CUDA: its operators do not load, and importing it fails.",
        "torchvision 0.28 with torch 2.13",
        f"{CHANGES_IN}:declare_torchvision_operators",
        "before",
    ),
    Change(
        "torchvision.transforms.functional_tensor:rgb_to_grayscale",
        "BasicSR imports a module that torchvision has removed.",
        "torchvision >= 0.17",
        f"{CHANGES_IN}:provide_functional_tensor",
        "before",
    ),
    Change(
        "basicsr.train:load_resume_state",
        "It loads the state to a CUDA device, and takes the newest file even if a kill cut it short.",
        "basicsr <= 1.4.2",
        f"{CHANGES_IN}:load_resume_state",
        "import",
    ),
    Change(
        "basicsr.utils.options:init_dist",
        "It sets CUDA devices and uses NCCL throughout.",
        "basicsr <= 1.4.2",
        f"{CHANGES_IN}:init_dist_on_cpu",
        "without CUDA",
    ),
    Change(
        "basicsr.models.base_model:BaseModel.model_to_device",
        "It gives device ids to DistributedDataParallel, which a CPU does not have.",
        "basicsr <= 1.4.2",
        f"{CHANGES_IN}:model_to_cpu",
        "without CUDA",
    ),
    Change(
        "basicsr.utils.file_client:LmdbBackend.__init__",
        "lmdb refuses to open the same environment twice in a process, as two data sets of one LMDB do.",
        "lmdb >= 1.6",
        f"{CHANGES_IN}:open_shared_lmdb",
        "import",
    ),
    Change(
        "basicsr.data.prefetch_dataloader:PrefetchGenerator.run",
        "An error in the prefetching thread was lost, and training waited for ever.",
        "basicsr <= 1.4.2",
        f"{CHANGES_IN}:prefetch",
        "import",
    ),
    Change(
        "basicsr.data.prefetch_dataloader:PrefetchGenerator.__next__",
        "The other half of handing an error on.",
        "basicsr <= 1.4.2",
        f"{CHANGES_IN}:next_prefetched",
        "import",
    ),
    Change(
        "basicsr.utils.misc:mkdir_and_rename",
        "A folder put aside twice within a second met the one before: a traceback.",
        "basicsr <= 1.4.2",
        f"{CHANGES_IN}:put_aside",
        "import",
    ),
    Change(
        "basicsr.data:worker_init_fn",
        "Workers were seeded alike whenever they started, so crops and flips repeated in every epoch.",
        "basicsr <= 1.4.2",
        f"{CHANGES_IN}:seed_worker",
        "import",
    ),
    Change(
        "basicsr.train:create_train_val_dataloader",
        "Progressive patches, sub-images and resumed data order need a sampler of our own.",
        "all",
        "ramit_model.training.session:create_train_val_dataloader",
        "pipeline",
    ),
    Change(
        "basicsr.train:MessageLogger",
        "Its time to the end is wrong after a resume, and it knows one epoch only for our sampler.",
        "all",
        "ramit_model.training.session:progress_logger",
        "pipeline",
    ),
    Change(
        "basicsr.train:init_tb_loggers",
        "TensorBoard showed twice what was logged beyond a resumed iteration, and a crash lost the last minutes.",
        "all",
        "ramit_model.training.session:init_tb_loggers",
        "pipeline",
    ),
    Change(
        "basicsr.train:build_model",
        "SIGTERM and Ctrl-C lost everything since the last checkpoint, and weights to begin with were not validated.",
        "all",
        "ramit_model.training.session:build_model",
        "pipeline",
    ),
    Change(
        "basicsr.train:parse_options",
        "It executes tags of option files; ours were read as plain data and checked before.",
        "all",
        f"{CHANGES_IN}:parse_options",
        "pipeline",
    ),
    Change(
        "basicsr.test:parse_options",
        "The same for tests.",
        "all",
        f"{CHANGES_IN}:parse_options",
        "pipeline",
    ),
    Change(
        "basicsr.train:copy_opt_file",
        "It reads option files in the encoding of the locale, and fails for the copy in the experiment itself.",
        "all",
        f"{CHANGES_IN}:copy_option_file",
        "pipeline",
    ),
    Change(
        "basicsr.models.base_model:BaseModel.load_network",
        "It knows files of its own alone, and with strict_load_g: false it loads nothing of others without an error.",
        "all",
        "ramit_model.training.loading:load_network",
        "pipeline",
    ),
    Change(
        "basicsr.models.sr_model:SRModel._log_validation_metric_values",
        "In a test, it called the only result the best one, at an iteration that is the name of the run.",
        "all",
        f"{CHANGES_IN}:log_metrics",
        "pipeline",
    ),
    Change(
        "basicsr.train:get_root_logger",
        "The terminal got hundreds of lines: the banner, all options, every layer of the network.",
        "all",
        f"{CHANGES_IN}:start_log",
        "pipeline",
    ),
    Change(
        "basicsr.test:get_root_logger",
        "The same for tests.",
        "all",
        f"{CHANGES_IN}:start_log",
        "pipeline",
    ),
)
"""Every change made to BasicSR from outside."""

NETWORKS = {
    "RAMiT": "ramit_arch.ramit_arch",
    "NGswin": "ramit_arch.ngswin_arch",
    "spandrel": "ramit_model.inference.foreign.spandrel_network",
    "onnx": "ramit_model.inference.foreign.onnx_network",
}
"""Our networks, and functions that load those of others, with their modules; entered into BasicSR's ARCH_REGISTRY."""

SELF_REGISTERING = (
    "ramit_model.data.clean",
    "ramit_model.data.paired",
    "ramit_model.data.photos",
    "ramit_model.data.single",
    "ramit_model.inference.perceptual_metrics",
    "ramit_model.training.image_losses",
    "ramit_model.training.restoration_model",
)
"""Modules with data sets, models, losses and metrics, which enter themselves into BasicSR's registries."""

NAMES = {
    "ARCH_REGISTRY": "basicsr.utils.registry",
    "DATASET_REGISTRY": "basicsr.utils.registry",
    "LOSS_REGISTRY": "basicsr.utils.registry",
    "METRIC_REGISTRY": "basicsr.utils.registry",
    "MODEL_REGISTRY": "basicsr.utils.registry",
    "FileClient": "basicsr.utils",
    "PrefetchDataLoader": "basicsr.data.prefetch_dataloader",
    "SRModel": "basicsr.models.sr_model",
    "bgr2ycbcr": "basicsr.utils",
    "build_dataloader": "basicsr.data",
    "build_dataset": "basicsr.data",
    "build_loss": "basicsr.losses",
    "build_network": "basicsr.archs",
    "calculate_metric": "basicsr.metrics",
    "calculate_psnr": "basicsr.metrics",
    "check_resume": "basicsr.utils",
    "get_dist_info": "basicsr.utils.dist_util",
    "get_root_logger": "basicsr.utils",
    "imresize": "basicsr.utils.matlab_functions",
    "init_dist": "basicsr.utils.options",
    "master_only": "basicsr.utils.dist_util",
    "set_random_seed": "basicsr.utils",
    "tensor2img": "basicsr.utils",
    "test_pipeline": "basicsr.test",
    "train_pipeline": "basicsr.train",
}
"""Names of BasicSR that we use and the modules that define them: import them from here."""


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    global _imported_by_us  # noqa: PLW0603
    before, _imported_by_us = _imported_by_us, True
    try:
        return getattr(importlib.import_module(NAMES[name]), name)
    finally:
        _imported_by_us = before


_imported_by_us = False
"""Whether one of our own modules, itself not imported to its end, is importing BasicSR: others may need that module."""


def install() -> None:
    """Make the changes when BasicSR is imported, or at once if it has been already. May be called again.

    Raises:
        ImportError: What was imported as `basicsr` is not BasicSR.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
        if "basicsr" in sys.modules:
            _finish(sys.modules["basicsr"])


def register() -> None:
    """Import BasicSR with all changes, and enter our networks, data sets and models into its registries.

    Raises:
        ImportError: BasicSR is not installed, or something else of this name hides it.
    """
    importlib.import_module("basicsr")
    for module in SELF_REGISTERING:
        importlib.import_module(module)


def change(when: str) -> None:
    """Make the changes of one moment, see `Change.when`."""
    for entry in CHANGES:
        if entry.when == when:
            by = _resolve(entry.by)
            if when == "before":
                by()
            else:
                owner, name = _owner(entry.target)
                _originals.setdefault(entry.target, getattr(owner, name))
                setattr(owner, name, by)


def original(target: str) -> Any:
    """BasicSR's own object at `module:attribute`, whether it is replaced by now or not."""
    return _originals[target] if target in _originals else getattr(*_owner(target))


_originals: dict[str, Any] = {}


def _owner(target: str) -> tuple[Any, str]:
    """Object that holds the target, and the target's name in it."""
    module, _, path = target.partition(":")
    *parents, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for parent in parents:
        owner = getattr(owner, parent)
    return owner, name


def _resolve(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


class _Finder(MetaPathFinder):
    """Lets the other finders find BasicSR, and wraps its loader."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != "basicsr":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next((found for finder in others if (found := finder.find_spec(fullname, path, target))), None)
        if spec is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Makes the changes around BasicSR's own loader; a folder without `__init__.py` has none and is refused."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self.loader.create_module(spec) if self.loader is not None else None
        return created

    def exec_module(self, module: ModuleType) -> None:
        if self.loader is None:
            raise _not_basicsr(module)
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self.loader
        change("before")
        try:
            self.loader.exec_module(module)
        except ModuleNotFoundError as error:
            if not str(error.name).startswith("basicsr."):
                raise
            raise _not_basicsr(module) from None
        _finish(module)


def _finish(module: ModuleType) -> None:
    """Make the changes to a BasicSR that is imported, and register what is ours."""
    # BasicSR's own initialiser imports all of its modules.
    if not hasattr(module, "__version__") or "basicsr.train" not in sys.modules:
        raise _not_basicsr(module)
    change("import")
    if not importlib.import_module("torch").cuda.is_available():
        change("without CUDA")
    registry = importlib.import_module("basicsr.utils.registry").ARCH_REGISTRY
    for name, network in NETWORKS.items():
        if name not in registry:
            registry.register(_resolve(f"{network}:{name}"))
    if not _imported_by_us:  # `register` does it then
        for name in SELF_REGISTERING:
            importlib.import_module(name)


def _not_basicsr(module: ModuleType) -> ImportError:
    from importlib.metadata import PackageNotFoundError, distribution

    place = getattr(module, "__file__", None) or next(iter(module.__path__))
    message = f"{place}: this 'basicsr' is not the BasicSR package and hides it; rename or remove it"
    for name in DISTRIBUTIONS:
        with suppress(PackageNotFoundError):
            installed = distribution(name)
            if Path(str(installed.locate_file("basicsr"))).resolve() in Path(place, "x").resolve().parents:
                message = (
                    f"{place}: parts of BasicSR are missing, as after the removal of another distribution with this "
                    f"folder; install it again: pip install --force-reinstall --no-deps {name}=={installed.version}"
                )
    return ImportError(message, name="basicsr")
