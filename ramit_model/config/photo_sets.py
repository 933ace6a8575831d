"""Sets of photos in option files: what validation takes over from training, and what does not go together."""

from typing import Any

from ramit_model.config.dataset_schema import PHOTOS
from ramit_model.config.option_file import Options
from ramit_model.data.photo_listing import TENTH
from ramit_model.system.errors import InputError

SHARED = ("dataroot_gt", "dataroot_lq", "meta_info_file", "key", "filename_tmpl", "color", "shrink", "held_out")
"""Options that a validation set has from the training set whose photos it takes."""


def share_photos(options: Options, file: str) -> None:
    """Give validation sets of photos without a folder what `datasets.train` holds out, in place.

    Where no validation takes these, none is held out. Options that are not what the schema wants are left to its check.

    Raises:
        InputError: A validation set states another way to read these photos.
    """
    datasets = options.get("datasets")
    train = datasets.get("train") if isinstance(datasets, dict) else None
    if not isinstance(datasets, dict) or not isinstance(train, dict) or train.get("type") != PHOTOS:
        return
    sharing = {
        phase: block for phase, block in datasets.items() if phase.partition("_")[0] == "val" and _is_open(block)
    }
    held_out = train.get("held_out", TENTH)
    if not sharing and not any(isinstance(block, dict) and block.get("held_out") for block in datasets.values()):
        held_out = 0
    train["held_out"] = held_out
    for phase, block in sharing.items():
        for key in SHARED:
            value = train.get(key)
            if block.get(key) not in (None, value):
                raise InputError(
                    f"{file}: datasets.{phase}.{key}: is not that of datasets.train, whose photos the set takes; leave "
                    "it out, or give the set a dataroot_gt"
                )
            if value is not None:
                block[key] = value
        block["gt_size"] = _largest_patch(options, train)


def _is_open(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == PHOTOS and block.get("dataroot_gt") is None


def _largest_patch(options: Options, train: Options) -> Any:
    """GT pixels: a photo that is too small for the training is no photo for its validation, either."""
    progressive = (options.get("train") or {}).get("progressive")
    return max(progressive["patch_sizes"]) * options["scale"] if progressive else train.get("gt_size")


def makes_noise(dataset: Options, options: Options) -> bool:
    """Whether a data set is one of photos that noise is added to."""
    return dataset["type"] == PHOTOS and options["scale"] == 1 and dataset.get("dataroot_lq") is None


def check_photos(dataset: Options, kind: str, options: Options, where: str) -> None:
    """Check a set of photos beyond its schema.

    Args:
        dataset: Its options, after `share_photos`.
        kind: train, val or test.
        options: All options.
        where: File and key, for messages.

    Raises:
        InputError: Something is missing, or does not go together.
    """
    if dataset.get("dataroot_gt") is None:
        raise InputError(f"{where}.dataroot_gt: is missing; datasets.train is no {PHOTOS} that could hold photos out")
    if (dataset.get("io_backend") or {"type": "disk"})["type"] != "disk":
        raise InputError(f"{where}.io_backend.type: {PHOTOS} reads folders; write disk, or take CleanImageDataset")
    if dataset.get("meta_info_file") and dataset.get("dataroot_lq"):
        raise InputError(f"{where}.meta_info_file: {PHOTOS} knows none for pairs; take PairedRestorationDataset")
    noisy = makes_noise(dataset, options)
    if dataset.get("sigma") is not None and not noisy:
        what = "LQ images are given" if dataset.get("dataroot_lq") else f"at scale {options['scale']}, LQ is bicubic"
        raise InputError(f"{where}.sigma: adds no noise, for {what}; remove it")
    if kind == "train" and noisy and dataset.get("sigma") is None:
        raise InputError(f"{where}.sigma: is missing; or give LQ images by dataroot_lq, or a scale above 1")
    if kind != "train" and dataset.get("held_out") == 0 and _is_shared(dataset, options):
        raise InputError(f"{where}: datasets.train holds no photo out; raise its held_out, or write {where[-3:]}: ~")


def _is_shared(dataset: Options, options: Options) -> bool:
    train = options["datasets"].get("train") or {}
    return train.get("type") == PHOTOS and train.get("dataroot_gt") == dataset["dataroot_gt"]
