"""Schedule of a training as pure functions of the iteration: learning rate, patch and batch size, trained modules.

Iterations count from 1. The schedule has no state, so a resumed training continues exactly.
"""

import bisect
import math
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from ramit_model.system.errors import InputError


@dataclass(frozen=True)
class MultiStep:
    """BasicSR's `MultiStepLR`: after each milestone the rate is multiplied by `gamma`; restarts begin again."""

    milestones: tuple[int, ...]
    gamma: float = 0.1
    restarts: tuple[int, ...] = (0,)
    restart_weights: tuple[float, ...] = (1.0,)

    def rate(self, base: float, done: int) -> float:
        """Learning rate after `done` iterations."""
        start = max((restart for restart in self.restarts if restart <= done), default=-1)
        weight = self.restart_weights[self.restarts.index(start)] if start >= 0 else 1.0
        return base * weight * self.gamma ** sum(start < milestone <= done for milestone in self.milestones)


@dataclass(frozen=True)
class CosineAnnealing:
    """BasicSR's `CosineAnnealingRestartLR`: half a cosine down to `eta_min` in each period."""

    periods: tuple[int, ...]
    restart_weights: tuple[float, ...] = (1.0,)
    eta_min: float = 0.0

    def rate(self, base: float, done: int) -> float:
        """Learning rate after `done` iterations; constant after the last period."""
        ends = list(accumulate(self.periods))
        done = min(done, ends[-1])
        index = bisect.bisect_left(ends, done)
        begin = ends[index] - self.periods[index]
        cosine = 1 + math.cos(math.pi * (done - begin) / self.periods[index])
        return self.eta_min + self.restart_weights[index] * 0.5 * (base - self.eta_min) * cosine


@dataclass(frozen=True)
class Cosine:
    """PyTorch's `CosineAnnealingLR`, which begins when the warm-up has reached the full rate.

    Half a cosine down to `eta_min` in `length` iterations, and up again in as many.
    """

    length: int
    eta_min: float = 0.0
    begin: int = 0

    def rate(self, base: float, done: int) -> float:
        """Learning rate after `done` iterations, of which `begin` belong to the warm-up."""
        cosine = 1 + math.cos(math.pi * (done - self.begin) / self.length)
        return self.eta_min + 0.5 * (base - self.eta_min) * cosine


@dataclass(frozen=True)
class Constant:
    """The base rate throughout."""

    def rate(self, base: float, done: int) -> float:
        """Learning rate after `done` iterations."""
        return base


Scheduler = MultiStep | CosineAnnealing | Cosine | Constant

SCHEDULERS: dict[str, type[MultiStep | CosineAnnealing]] = {
    "MultiStepLR": MultiStep,
    "MultiStepRestartLR": MultiStep,
    "CosineAnnealingRestartLR": CosineAnnealing,
}
"""BasicSR's `train.scheduler.type` -> learning rate schedule, with BasicSR's arguments."""


@dataclass(frozen=True)
class Stage:
    """Stage of a training, with patches of one size."""

    last: int
    """Last iteration of the stage."""
    patch_size: int
    """Side of the LQ patches, pixels."""
    batch_size: int
    """Patches per iteration, over all processes."""


@dataclass(frozen=True)
class Schedule:
    """Schedule of a training."""

    total_iter: int
    base_rate: float
    scheduler: Scheduler
    stages: tuple[Stage, ...]
    warmup_iter: int = 0
    warm_start_iter: int = 0
    warm_start_trainable: tuple[str, ...] = ()

    @classmethod
    def from_options(cls, options: dict[str, Any], world_size: int = 1) -> "Schedule":
        """Read the schedule from the blocks `train` and `datasets.train` of a training's options.

        Args:
            options: Options in BasicSR's form.
            world_size: Number of processes, each of which has a batch of `batch_size_per_gpu` (without `progressive`).

        Raises:
            InputError: Options are missing or contradict each other; the line begins with the key.
        """
        train, dataset = options["train"], options["datasets"]["train"]
        total = int(train["total_iter"])
        warm_start = train.get("warm_start") or {}
        if train.get("progressive"):
            stages = _progressive_stages(train["progressive"], total)
        else:
            patch = dataset["gt_size"] // options["scale"]
            stages = (Stage(total, patch, dataset["batch_size_per_gpu"] * world_size),)
        return cls(
            total_iter=total,
            base_rate=train["optim_g"]["lr"],
            scheduler=_make_scheduler(train),
            stages=stages,
            warmup_iter=max(0, train.get("warmup_iter", 0)),
            warm_start_iter=warm_start.get("iters", 0),
            warm_start_trainable=tuple(warm_start.get("trainable", ())),
        )

    def stage(self, iteration: int) -> Stage:
        """Stage of an iteration."""
        return self.stages[min(self._stage_index(iteration), len(self.stages) - 1)]

    def _stage_index(self, iteration: int) -> int:
        return bisect.bisect_left([stage.last for stage in self.stages], iteration)

    def rate(self, iteration: int) -> float:
        """Learning rate of `iteration`.

        Constant during a warm start; then a linear warm-up from 0, reaching the full rate at its last iteration; then
        the scheduler, whose milestones take effect in the iteration after them. Both count from the end of the warm
        start; a `Cosine` begins in the last iteration of the warm-up. The rate follows the batch: rate * batch / batch
        of the first stage.
        """
        if iteration <= self.warm_start_iter:
            return self.base_rate
        done = iteration - self.warm_start_iter - 1
        if done + 1 < self.warmup_iter:
            rate = self.base_rate * (done + 1) / self.warmup_iter
        else:
            rate = self.scheduler.rate(self.base_rate, done)
        return rate * self.stage(iteration).batch_size / self.stages[0].batch_size

    def trainable(self, iteration: int) -> tuple[str, ...] | None:
        """Names of the modules that are trained in `iteration`; None means the whole network."""
        return self.warm_start_trainable if iteration <= self.warm_start_iter else None

    def patches_before(self, iteration: int) -> int:
        """Number of patches of all iterations before `iteration`, over all processes."""
        patches, begin = 0, 0
        for stage in self.stages:
            patches += stage.batch_size * (min(iteration - 1, stage.last) - begin)
            begin = stage.last
            if iteration - 1 <= stage.last:
                break
        return patches

    @property
    def switches(self) -> tuple[int, ...]:
        """First iterations of later stages, and of training the whole network after a warm start."""
        stages = {stage.last + 1 for stage in self.stages[:-1]}
        whole = {self.warm_start_iter + 1} if self.warm_start_iter else set()
        return tuple(sorted(i for i in stages | whole if i <= self.total_iter))


def _progressive_stages(block: dict[str, Any], total: int) -> tuple[Stage, ...]:
    iters, patches, batches = (block[key] for key in ("iters", "patch_sizes", "batch_sizes"))
    if not len(iters) == len(patches) == len(batches):
        counts = f"{len(iters)} iters, {len(patches)} patch_sizes, {len(batches)} batch_sizes"
        raise InputError(f"train.progressive: {counts}; give each stage one of each")
    if sum(iters) < total:
        raise InputError(
            f"train.progressive.iters: the stages end after {sum(iters)} iterations, but total_iter is {total}; "
            "lengthen the last stage, or lower total_iter"
        )
    return tuple(Stage(*values) for values in zip(accumulate(iters), patches, batches, strict=True))


def _make_scheduler(train: dict[str, Any]) -> Scheduler:
    """The schedule that `train.scheduler` describes."""
    kind = train["scheduler"]["type"]
    arguments = {key: _as_tuple(value) for key, value in train["scheduler"].items() if key != "type"}
    if kind == "ConstantLR":
        return Constant()
    if kind == "CosineAnnealingLR":
        begin = max(0, train.get("warmup_iter", 0) - 1)
        left = int(train["total_iter"]) - (train.get("warm_start") or {}).get("iters", 0) - begin
        if left < 1:
            raise InputError("train.warmup_iter: leaves no iteration for the cosine; shorten the warm-up")
        return Cosine(arguments.get("T_max") or left, arguments.get("eta_min", 0.0), begin)
    scheduler = SCHEDULERS[kind](**arguments)
    starts = scheduler.restarts if isinstance(scheduler, MultiStep) else scheduler.periods
    if len(starts) != len(scheduler.restart_weights):
        raise InputError("train.scheduler.restart_weights: must have one number for each restart or period")
    return scheduler


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
