"""Option files of trainings and tests: read and checked before anything runs."""

import copy
import functools
import os
import re
from collections.abc import Iterable, Mapping

from pydantic import BaseModel

from ramit_model.config.checks import check_options, check_set_names
from ramit_model.config.dataset_schema import CLEAN
from ramit_model.config.expectations import expected_curve
from ramit_model.config.metrics import say_what_is_better
from ramit_model.config.option_file import Options, override, read_yaml
from ramit_model.config.photo_sets import makes_noise, share_photos
from ramit_model.config.schema import CHECKED_MODELS, TestOptions, TrainOptions
from ramit_model.config.text_options import is_text
from ramit_model.config.validation import check_numbers_as_text, check_schema
from ramit_model.system.errors import InputError
from ramit_model.system.paths import expand

PATH_OPTION = re.compile(r"dataroot(_\w+)?|cache_folder|meta_info_file|pretrain_network_\w+|resume_state|weights")
"""Options that are paths."""


def read_options(
    path: str | os.PathLike[str],
    forced: Iterable[str],
    *,
    leave_out: Iterable[str],
    schema: type[BaseModel],
    blocks: Mapping[str, type[BaseModel]] | None = None,
) -> Options:
    """Read an option file and apply `--force_yml`.

    Args:
        path: YAML option file.
        forced: Entries of `--force_yml`.
        schema: Schema of the file, which says which options are text.
        blocks: See `is_text`.
        leave_out: Blocks whose empty entries are dropped: `--force_yml datasets:test_2=none` leaves a set out.

    Raises:
        InputError: It cannot be read, or a number is written as text.
    """
    options = read_yaml(path)
    text = functools.partial(is_text, schema, blocks or {})
    override(options, forced, path, text)
    for name in leave_out:
        if isinstance(options.get(name), dict):
            options[name] = {key: block for key, block in options[name].items() if block is not None}
    check_numbers_as_text(options, f"{path}: ", text)
    _expand_paths(options, f"{path}: ")
    return options


def _expand_paths(block: Options, where: str) -> None:
    """Replace `~` and variables in the paths of all blocks, in place."""
    for key, value in block.items():
        if isinstance(value, dict):
            _expand_paths(value, f"{where}{key}.")
        elif isinstance(value, str) and PATH_OPTION.fullmatch(str(key)):
            try:
                block[key] = expand(value)
            except InputError as error:
                raise InputError(f"{where}{key}: {error}") from None


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
    schema = TrainOptions if is_train else TestOptions
    options = read_options(path, forced, leave_out=("datasets",), schema=schema)
    model_type = options.get("model_type")
    if model_type is None or model_type in CHECKED_MODELS:
        check_schema(schema, options, f"{path}: ")
    share_photos(options, str(path))
    check_options(options, str(path), is_train)
    expand_sigma_sets(options, str(path))
    check_set_names(options["datasets"], str(path))
    find_weights(options, str(path))
    say_what_is_better((options.get("val") or {}).get("metrics") or {})
    if is_train and (expected := expected_curve(options)):
        options["expected"] = expected
    return options


def find_weights(options: Options, file: str) -> None:
    """Put the file of the weights that a run begins with in the place of a published name; download it if needed.

    Raises:
        InputError: There is no such file and no such name, or the download fails.
    """
    from ramit_model.inference.published_files import locate

    weights = options["path"].get("pretrain_network_g")
    if weights is None:
        return
    try:
        found = locate(str(weights))
    except InputError as error:
        raise InputError(f"{file}: path.pretrain_network_g: {error}, or write ~ to do without") from None
    if not found.is_file():
        raise InputError(f"{file}: path.pretrain_network_g: {weights}: is no file; check the path, or write ~")
    options["path"]["pretrain_network_g"] = str(found)


def expand_sigma_sets(options: Options, file: str) -> None:
    """Replace each validation or test set that noise is added to by one for each noise level in `val.sigma`."""
    datasets: Options = {}
    for phase, dataset in options["datasets"].items():
        noisy = dataset["type"] == CLEAN or makes_noise(dataset, options)
        if phase == "train" or not noisy or dataset.get("sigma") is not None:
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
