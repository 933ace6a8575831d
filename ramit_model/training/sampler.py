"""Patches of a training, as a pure function of the seed and the iteration."""

import math
import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from logging import Logger
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from ramit_model.basicsr_bridge import PrefetchDataLoader, build_dataloader, build_dataset, original
from ramit_model.data.patches import PATCH_DATASETS, PatchRequest, group_sub_images
from ramit_model.system.errors import InputError
from ramit_model.system.processes import leave_stopping_to_parent, stop_signals_blocked
from ramit_model.training.schedule import Schedule

SUB_IMAGE_SEEDS = 1 << 96
"""Offset above the seeds of all patches, so that sub-image and patch position are independent."""


class PatchSampler(Sampler[list[PatchRequest]]):
    """Batches of one process, from the iteration after `start` to the last.

    Every image is taken once before any is taken again, and the order is shuffled for each pass. All sub-images of an
    image are equally likely. The patches of an iteration do not depend on the number of processes.

    Args:
        schedule: Schedule with patch and batch size of every iteration.
        images: Number of images in the data set or, for images cut into sub-images, the entries of each image.
        seed: `manual_seed` of the options.
        rank: Rank of this process.
        world_size: Number of processes.
        start: Last iteration before a resumed training was interrupted, or 0.
    """

    def __init__(
        self,
        schedule: Schedule,
        images: int | Sequence[Sequence[int]],
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
    ) -> None:
        self.sub_images = None if isinstance(images, int) else images
        self.images = images if isinstance(images, int) else len(images)
        self.schedule, self.seed, self.start = schedule, seed, start
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return max(0, self.schedule.total_iter - self.start)

    def __iter__(self) -> Iterator[list[PatchRequest]]:
        for iteration in range(self.start + 1, self.schedule.total_iter + 1):
            yield self.batch(iteration)

    def batch(self, iteration: int) -> list[PatchRequest]:
        """Patches that this process takes in `iteration`."""
        stage, first = self.schedule.stage(iteration), self.schedule.patches_before(iteration)
        return [
            self._request(position, stage.patch_size)
            for position in range(first + self.rank, first + stage.batch_size, self.world_size)
        ]

    def _request(self, position: int, patch_size: int) -> PatchRequest:
        epoch, place = divmod(position, self.images)
        index, seed = _shuffled(self.images, self.seed, epoch)[place], (self.seed << 48) + position
        if self.sub_images is not None:
            index = random.Random(SUB_IMAGE_SEEDS + seed).choice(self.sub_images[index])  # noqa: S311  no secrets here
        return PatchRequest(index, patch_size, seed)

    def set_epoch(self, epoch: int) -> None:
        """Do nothing; BasicSR's loop calls this, but only the iteration matters here."""


@lru_cache(maxsize=2)
def _shuffled(count: int, seed: int, epoch: int) -> list[int]:
    generator = torch.Generator().manual_seed((seed << 24) + epoch)
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    return order


class _WholeRun:
    """Loader that starts its workers with the first batch, not as soon as BasicSR makes an iterator."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        with stop_signals_blocked():
            batches = iter(self.loader)
        yield from batches


def create_train_val_dataloader(opt: dict[str, Any], logger: Logger) -> tuple[Any, Any, list[Any], int, int]:
    """Make the data loaders of a training; replaces BasicSR's function of this name.

    Args:
        opt: Options after BasicSR's parser; `train_images` is set, the number of images in the training set.
        logger: BasicSR's logger.

    Returns:
        Training loader (ends after the last iteration), its sampler, validation loaders, last epoch, iterations.

    Raises:
        InputError: The data set has no image for a batch, or one smaller than the largest patch.
    """
    dataset_opt = opt["datasets"]["train"]
    if dataset_opt["type"] not in PATCH_DATASETS:
        create = original("basicsr.train:create_train_val_dataloader")
        created: tuple[Any, Any, list[Any], int, int] = create(opt, logger)
        if len(created[0]) == 0:
            raise InputError(
                f"data set {dataset_opt['name']}: {len(created[1])} patches an epoch make no batch of "
                f"{dataset_opt['batch_size_per_gpu']}; raise dataset_enlarge_ratio, or take smaller batches"
            )
        return _WholeRun(created[0]), *created[1:]
    dataset, sampler = training_set(opt)
    schedule, opt["train_images"] = sampler.schedule, sampler.images
    epochs = math.ceil(schedule.patches_before(schedule.total_iter + 1) / sampler.images)
    sub_images = f" ({len(dataset)} sub-images)" if dataset_opt.get("sub_images") else ""
    logger.info(
        f"Training on {sampler.images} images{sub_images} of {dataset_opt['name']}, {schedule.total_iter} "
        f"iterations, {epochs} patches an image.{_describe(schedule)}"
    )
    loaders = [
        build_dataloader(build_dataset(block), block, dist=opt["dist"], seed=opt["manual_seed"])
        for phase, block in opt["datasets"].items()
        if phase.partition("_")[0] == "val"
    ]
    # BasicSR's loop sees one epoch: workers are started once and never pause.
    return _WholeRun(_train_loader(dataset, dataset_opt, sampler)), sampler, loaders, 0, schedule.total_iter


def training_set(opt: dict[str, Any]) -> tuple[Any, PatchSampler]:
    """Build the training set, one of `PATCH_DATASETS`.

    Args:
        opt: Options after BasicSR's parser.

    Returns:
        The data set, and the batches that this process takes from it.

    Raises:
        InputError: The set is empty, or an image is smaller than the largest patch.
    """
    schedule = Schedule.from_options(opt, opt["world_size"])
    largest = max(schedule.stage(first).patch_size for first in (1, *schedule.switches))
    dataset = build_dataset({**opt["datasets"]["train"], "gt_size": largest * opt["scale"]})
    dataset.check_images(largest)
    return dataset, PatchSampler(
        schedule,
        group_sub_images(dataset.gt_paths) if dataset.opt.get("sub_images") else len(dataset),
        seed=opt["manual_seed"],
        rank=opt["rank"],
        world_size=opt["world_size"],
        start=opt.get("resume_iter", 0),
    )


def _train_loader(dataset: Any, opt: dict[str, Any], sampler: PatchSampler) -> DataLoader[Any]:
    arguments: dict[str, Any] = {
        "dataset": dataset,
        "batch_sampler": sampler,
        "num_workers": opt["num_worker_per_gpu"],
        "pin_memory": opt.get("pin_memory", False) and torch.cuda.is_available(),
        "worker_init_fn": leave_stopping_to_parent,
        # Its own: a resumed training would draw one number more from the generator that networks take theirs from.
        "generator": torch.Generator().manual_seed(sampler.seed),
    }
    if opt.get("prefetch_mode") == "cpu":
        return PrefetchDataLoader(num_prefetch_queue=opt.get("num_prefetch_queue", 1), **arguments)
    return DataLoader(**arguments)


def _describe(schedule: Schedule) -> str:
    """Text with one line per stage of the schedule."""
    lines = []
    for first in (1, *schedule.switches):
        stage, parts = schedule.stage(first), schedule.trainable(first)
        what = f", only {', '.join(parts)}" if parts else ""
        lines.append(f"\n\tfrom iteration {first}: LQ patch {stage.patch_size}, batch {stage.batch_size}{what}")
    return "".join(lines)
