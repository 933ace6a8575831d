"""The plan of every recipe against the published facts, and the schedules against BasicSR's and PyTorch's own."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR
from helpers import REPOSITORY, training_options
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    SequentialLR,
)

from ramit_model.system.errors import InputError
from ramit_model.training.schedule import CosineAnnealing, MultiStep, Schedule, Stage

PUBLISHED_PROCESSES = 2


@dataclass(frozen=True)
class Published:
    """How a network was trained, in epochs."""

    epochs: tuple[int, ...]
    """Of each stage, after the warm start."""
    iterations: tuple[int, ...]
    """An epoch, in each stage."""
    patches: tuple[int, ...] = (64,)
    batches: tuple[int, ...] = (64,)
    rate: float = 4e-4
    warm_up: int = 0
    """Epochs; like the halvings, counted from the end of the warm start."""
    halved_after: tuple[int, ...] = ()
    warm_start: int = 0
    """Epochs of the first stage's length, before all others."""

    @property
    def total(self) -> int:
        stages = zip(self.epochs, self.iterations, strict=True)
        return self.warm_start * self.iterations[0] + sum(epochs * length for epochs, length in stages)

    @property
    def starts(self) -> list[int]:
        """First iteration of each stage."""
        lengths = [epochs * length for epochs, length in zip(self.epochs, self.iterations, strict=True)]
        return [1, *(1 + end for end in accumulate(lengths[:-1]))]

    def rates(self) -> np.ndarray:
        """Of every iteration."""
        parts, passed = [np.full(self.warm_start * self.iterations[0], self.rate)], 0
        for epochs, length, batch in zip(self.epochs, self.iterations, self.batches, strict=True):
            iterations = np.arange(epochs * length)
            whole_epochs = passed + iterations // length
            halvings = sum((whole_epochs >= epoch).astype(int) for epoch in self.halved_after)
            risen = np.ones(len(iterations))
            if self.warm_up:
                risen = np.minimum(1, (passed + (iterations + 1) / length) / self.warm_up)
            parts.append(self.rate * batch / 64 * risen / 2**halvings)
            passed += epochs
        return np.concatenate(parts)


FROM_SCRATCH = Published((500,), (1000,), warm_up=20, halved_after=(200, 300, 400, 425, 450, 475))
FROM_X2 = Published((250,), (1000,), warm_up=10, halved_after=(50, 100, 150, 175, 200, 225), warm_start=50)
PROGRESSIVE = dict(epochs=(100, 100, 200), patches=(64, 96, 128), batches=(64, 32, 16))
PROGRESSIVE |= dict(warm_up=20, halved_after=(200, 300, 350, 375))
OF_25782 = Published(iterations=(403, 806, 1612), **PROGRESSIVE)
OF_25000 = Published(iterations=(391, 782, 1563), **PROGRESSIVE)
SWINIR = Published((500,), (1000,), rate=2e-4, halved_after=(250, 400, 450, 475))

PUBLISHED = {
    "train_RAMiT_x2": FROM_SCRATCH,
    "train_RAMiT_x3": FROM_X2,
    "train_RAMiT_x4": FROM_X2,
    "train_RAMiT-1_x2": FROM_SCRATCH,
    "train_RAMiT-1_x3": FROM_X2,
    "train_RAMiT-1_x4": FROM_X2,
    "train_RAMiT-slimSR_x2": FROM_SCRATCH,
    "train_RAMiT-slimSR_x3": FROM_X2,
    "train_RAMiT-slimSR_x4": FROM_X2,
    "train_RAMiT_CDN": OF_25782,
    "train_RAMiT-1_CDN": OF_25782,
    "train_RAMiT_GDN": OF_25782,
    "train_RAMiT_LLE": OF_25000,
    "train_RAMiT-slimLLE_LLE": OF_25000,
    "train_RAMiT_DR": OF_25000,
    "train_NGswin_x2": FROM_SCRATCH,
    "train_NGswin_x3": FROM_X2,
    "train_NGswin_x4": FROM_X2,
    "train_SwinIR-light_x2": SWINIR,
    "train_SwinIR-light_x3": SWINIR,
    "train_SwinIR-light_x4": SWINIR,
}

TOTALS = {FROM_SCRATCH: 500_000, FROM_X2: 300_000, OF_25782: 443_300, OF_25000: 429_900, SWINIR: 500_000}

each_recipe = pytest.mark.parametrize("name", PUBLISHED)


def plan(name: str) -> Schedule:
    options = yaml.safe_load((REPOSITORY / f"options/{name}.yml").read_text())
    return Schedule.from_options(options, PUBLISHED_PROCESSES)


@lru_cache
def all_rates(schedule: Schedule) -> np.ndarray:
    return np.array([schedule.rate(iteration) for iteration in range(1, schedule.total_iter + 1)])


# The recipes ----------------------------------------------------------------------------------------------------------


def test_every_recipe_is_looked_at() -> None:
    files = {path.stem for path in (REPOSITORY / "options").glob("train_*.yml")}
    assert files == {*PUBLISHED, "train_demo"}


@each_recipe
def test_rate_of_every_iteration(name: str) -> None:
    published, schedule = PUBLISHED[name], plan(name)
    assert schedule.total_iter == published.total == TOTALS[published]
    np.testing.assert_allclose(all_rates(schedule), published.rates(), rtol=1e-12, atol=0)


@each_recipe
def test_patches_and_batches_around_every_stage(name: str) -> None:
    published, schedule = PUBLISHED[name], plan(name)
    ends = [*(start - 1 for start in published.starts[1:]), published.total]
    stages = zip(published.starts, ends, published.patches, published.batches, strict=True)
    for start, end, patch, batch in stages:
        for iteration in (start, start + 1, (start + end) // 2, end - 1, end):
            stage = schedule.stage(iteration)
            assert (stage.patch_size, stage.batch_size) == (patch, batch), iteration


@each_recipe
def test_trained_modules_and_switches(name: str) -> None:
    published, schedule = PUBLISHED[name], plan(name)
    last = published.warm_start * 1000
    for iteration in (1, 2, 25_000, last - 1, last, last + 1, last + 2, published.total):
        if iteration > 0:
            expected = ("to_target",) if iteration <= last else None
            assert schedule.trainable(iteration) == expected, iteration
    expected = [last + 1] if last else published.starts[1:]
    assert schedule.switches == tuple(expected)


def test_switches_in_numbers() -> None:
    assert plan("train_RAMiT_x2").switches == ()
    assert plan("train_RAMiT_x4").switches == (50_001,)
    assert plan("train_RAMiT_GDN").switches == (40_301, 120_901)
    assert plan("train_RAMiT_DR").switches == (39_101, 117_301)


def test_rates_in_numbers() -> None:
    """The rate halves with the batch at each stage, and once more where an epoch says so."""
    rates = all_rates(plan("train_RAMiT_CDN"))
    at = {1: 4e-4 / 8060, 8060: 4e-4, 40_300: 4e-4, 40_301: 2e-4, 120_900: 2e-4, 120_901: 5e-5}
    at |= {282_100: 5e-5, 282_101: 2.5e-5, 362_701: 1.25e-5, 403_001: 6.25e-6, 443_300: 6.25e-6}
    assert {iteration: rates[iteration - 1] for iteration in at} == pytest.approx(at, rel=1e-12, abs=0)
    rates = all_rates(plan("train_RAMiT_x3"))
    at = {1: 4e-4, 50_000: 4e-4, 50_001: 4e-8, 60_000: 4e-4, 100_000: 4e-4, 100_001: 2e-4, 300_000: 6.25e-6}
    assert {iteration: rates[iteration - 1] for iteration in at} == pytest.approx(at, rel=1e-12, abs=0)


@each_recipe
def test_patches_of_the_whole_run(name: str) -> None:
    patches = plan(name).patches_before(TOTALS[PUBLISHED[name]] + 1)
    of_run = {
        FROM_SCRATCH: 500 * 80 * 800,
        FROM_X2: 300 * 80 * 800,
        SWINIR: 500 * 80 * 800,
        # The last batch of an epoch is filled up with patches of the next.
        OF_25782: 100 * 403 * 64 + 100 * 806 * 32 + 200 * 1612 * 16,
        OF_25000: 100 * 391 * 64 + 100 * 782 * 32 + 200 * 1563 * 16,
    }
    assert patches == of_run[PUBLISHED[name]]
    epoch = {OF_25782: 25_782, OF_25000: 25_000}.get(PUBLISHED[name])
    if epoch:
        assert patches == pytest.approx(400 * epoch, rel=1e-3)


def test_the_number_of_processes(pairs: Path) -> None:
    """Batches are given for each process; those of stages are given for all together."""
    options = training_options(pairs)
    assert [Schedule.from_options(options, n).stage(1).batch_size for n in (1, 2, 4)] == [2, 4, 8]
    options["train"]["progressive"] = {"iters": [4, 4], "patch_sizes": [8, 16], "batch_sizes": [8, 4]}
    assert Schedule.from_options(options, 4).stages == (Stage(4, 8, 8), Stage(8, 16, 4))


def test_no_warm_up(pairs: Path) -> None:
    options = training_options(pairs)
    for warm_up in (-1, 0, 1):
        options["train"]["warmup_iter"] = warm_up
        assert Schedule.from_options(options).rate(1) == 0.001
    del options["train"]["warmup_iter"]
    assert Schedule.from_options(options).rate(1) == 0.001


# Schedules ------------------------------------------------------------------------------------------------------------


def basicsrs_rates(scheduler: type, base: float, steps: int, **arguments: Any) -> list[float]:
    """The rate after 0, 1, ..., `steps` iterations."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base)
    stepped = scheduler(optimizer, **deepcopy(arguments))
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        stepped.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def multi_step_rates(steps: int, **arguments: Any) -> tuple[list[float], list[float]]:
    schedule = MultiStep(**{key: tuple(v) if isinstance(v, list) else v for key, v in arguments.items()})
    own = [schedule.rate(4e-4, done) for done in range(steps + 1)]
    return own, basicsrs_rates(MultiStepRestartLR, 4e-4, steps, **arguments)


weights = st.sampled_from([0.1, 0.25, 0.5, 1.0, 2.0])


@given(
    st.lists(st.integers(1, 40), max_size=6),
    st.sampled_from([0.1, 0.5, 0.9]),
    st.lists(st.tuples(st.integers(1, 40), weights), max_size=4, unique_by=lambda pair: pair[0]),
    st.one_of(st.none(), weights),
)
def test_multi_step_is_basicsrs(
    milestones: list[int], gamma: float, restarts: list[tuple[int, float]], first: float | None
) -> None:
    """Milestones in any order, twice, and at restarts; a restart at 0 or none."""
    restarts = sorted(restarts)
    if first is not None:
        restarts = [(0, first), *restarts]
    arguments: dict[str, Any] = {"milestones": milestones, "gamma": gamma}
    arguments |= {"restarts": [at for at, _ in restarts], "restart_weights": [weight for _, weight in restarts]}
    own, theirs = multi_step_rates(45, **arguments)
    assert own == pytest.approx(theirs, rel=1e-12, abs=0)


@given(st.lists(st.integers(1, 40), max_size=6))
def test_defaults_are_basicsrs(milestones: list[int]) -> None:
    own, theirs = multi_step_rates(45, milestones=milestones)
    assert own == pytest.approx(theirs, rel=1e-12, abs=0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"milestones": [6], "restarts": [10, 0, 4], "restart_weights": [0.5, 1.0, 0.25]},
        {"milestones": [3, 6], "restarts": [4, 4], "restart_weights": [0.5, 0.25]},
        {"milestones": [0, 6], "restarts": [4], "restart_weights": [0.5]},
    ],
    ids=["restarts in any order", "a restart twice", "a milestone before everything"],
)
def test_unusual_multi_steps_are_basicsrs(arguments: dict[str, Any]) -> None:
    own, theirs = multi_step_rates(15, **arguments)
    assert own == pytest.approx(theirs, rel=1e-12, abs=0)


@given(st.lists(st.tuples(st.integers(1, 15), weights), min_size=1, max_size=4), st.sampled_from([0.0, 1e-7, 1e-4]))
def test_cosine_annealing_is_basicsrs(stretches: list[tuple[int, float]], eta_min: float) -> None:
    periods, restart_weights = (list(column) for column in zip(*stretches, strict=True))
    end = sum(periods)
    theirs = basicsrs_rates(
        CosineAnnealingRestartLR, 4e-4, end, periods=periods, restart_weights=restart_weights, eta_min=eta_min
    )
    schedule = CosineAnnealing(tuple(periods), tuple(restart_weights), eta_min)
    assert [schedule.rate(4e-4, done) for done in range(end + 1)] == pytest.approx(theirs, rel=1e-9, abs=1e-18)
    # BasicSR's ends with an error behind the last period; here the rate stays.
    assert schedule.rate(4e-4, end + 1) == schedule.rate(4e-4, end + 1000) == schedule.rate(4e-4, end)


def torchs_rates(make: Callable[[torch.optim.Optimizer], LRScheduler], steps: int) -> list[float]:
    """Rates of the first iterations by schedulers of PyTorch's, from a base of 0.001."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.001)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def warm_up(optimizer: torch.optim.Optimizer, iterations: int) -> LRScheduler:
    """Linear rise that reaches the full rate in the last of so many iterations."""
    if iterations < 2:
        return ConstantLR(optimizer, factor=1)
    return LinearLR(optimizer, start_factor=1 / iterations, total_iters=iterations - 1)


def planned_rates(pairs: Path, total: int, warm_up: int, scheduler: dict[str, Any]) -> list[float]:
    options = training_options(pairs)
    options["train"] |= {"total_iter": total, "warmup_iter": warm_up, "scheduler": scheduler}
    schedule = Schedule.from_options(options)
    return [schedule.rate(iteration) for iteration in range(1, total + 1)]


@pytest.mark.parametrize("rise", [-1, 0, 1, 2, 7, 30])
@pytest.mark.parametrize(("eta_min", "period"), [(0, None), (1e-5, None), (1e-5, 11)])
def test_cosine_with_warm_up_is_torchs(pairs: Path, rise: int, eta_min: float, period: int | None) -> None:
    """The last iteration of the warm-up is the first of the cosine, which ends behind the last iteration."""

    length = period or 40 - max(0, rise - 1)

    def make(optimizer: torch.optim.Optimizer) -> LRScheduler:
        if rise < 2:
            return CosineAnnealingLR(optimizer, length, eta_min)
        parts = [warm_up(optimizer, rise), CosineAnnealingLR(optimizer, length, eta_min)]
        return SequentialLR(optimizer, parts, milestones=[rise - 1])

    given = {"type": "CosineAnnealingLR", "eta_min": eta_min, **({"T_max": period} if period else {})}
    own = planned_rates(pairs, 40, rise, given)
    assert own == pytest.approx(torchs_rates(make, 40), rel=1e-9, abs=1e-12)
    if rise >= 1:
        assert own[rise - 1] == 0.001


def test_cosine_ends_near_its_lowest_rate(pairs: Path) -> None:
    rates = planned_rates(pairs, 1000, 100, {"type": "CosineAnnealingLR", "eta_min": 1e-6})
    assert rates[99] == 0.001
    assert rates == sorted(rates[:100]) + sorted(rates[100:], reverse=True)
    assert 1e-6 < rates[-1] < 1.01e-6


@pytest.mark.parametrize("rise", [-1, 1, 2, 7])
def test_multi_step_with_warm_up_is_torchs(pairs: Path, rise: int) -> None:
    def make(optimizer: torch.optim.Optimizer) -> LRScheduler:
        return ChainedScheduler([warm_up(optimizer, rise), MultiStepLR(optimizer, [8, 20, 30], gamma=0.5)])

    given = {"type": "MultiStepLR", "milestones": [8, 20, 30], "gamma": 0.5}
    assert planned_rates(pairs, 40, rise, given) == pytest.approx(torchs_rates(make, 40), rel=1e-9)


@pytest.mark.parametrize("rise", [-1, 1, 2, 7])
def test_constant_with_warm_up_is_torchs(pairs: Path, rise: int) -> None:
    own = planned_rates(pairs, 12, rise, {"type": "ConstantLR"})
    assert own == pytest.approx(torchs_rates(lambda optimizer: warm_up(optimizer, rise), 12), rel=1e-9)


def test_cosine_counts_from_the_end_of_a_warm_start(pairs: Path) -> None:
    options = training_options(pairs)
    options["train"] |= {"total_iter": 50, "warmup_iter": 5, "scheduler": {"type": "CosineAnnealingLR"}}
    options["train"]["warm_start"] = {"iters": 10, "trainable": ["to_target"]}
    schedule = Schedule.from_options(options)
    rates = [schedule.rate(iteration) for iteration in range(1, 51)]
    assert rates[:10] == [0.001] * 10
    assert rates[10:] == planned_rates(pairs, 40, 5, {"type": "CosineAnnealingLR"})


@pytest.mark.parametrize("kind", ["MultiStepLR", "MultiStepRestartLR"])
def test_the_plan_takes_the_scheduler_of_the_options(kind: str, pairs: Path) -> None:
    options = training_options(pairs)
    options["train"] |= {"warmup_iter": -1, "scheduler": {"type": kind, "milestones": [2, 4], "gamma": 0.5}}
    schedule = Schedule.from_options(options)
    assert [schedule.rate(i) for i in range(1, 7)] == [0.001, 0.001, 0.0005, 0.0005, 0.00025, 0.00025]
    options["train"]["scheduler"] = {"type": "CosineAnnealingRestartLR", "periods": [8], "eta_min": 1e-4}
    theirs = basicsrs_rates(CosineAnnealingRestartLR, 0.001, 7, periods=[8], eta_min=1e-4)
    assert [Schedule.from_options(options).rate(i) for i in range(1, 9)] == pytest.approx(theirs)


# Any plan -------------------------------------------------------------------------------------------------------------

a_stage = st.tuples(st.integers(1, 12), st.integers(1, 64), st.integers(1, 64))


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    stages = draw(st.lists(a_stage, min_size=1, max_size=4))
    ends = list(accumulate(length for length, _, _ in stages))
    total = draw(st.integers(1, ends[-1]))
    return Schedule(
        total_iter=total,
        base_rate=1e-3,
        scheduler=MultiStep((3, 9), 0.5),
        stages=tuple(Stage(end, patch, batch) for end, (_, patch, batch) in zip(ends, stages, strict=True)),
        warmup_iter=draw(st.integers(0, 5)),
        warm_start_iter=draw(st.integers(0, total)),
        warm_start_trainable=("to_target",),
    )


@given(schedules())
def test_patches_before_is_a_running_sum(schedule: Schedule) -> None:
    taken = 0
    for iteration in range(1, schedule.total_iter + 1):
        assert schedule.patches_before(iteration) == taken
        taken += schedule.stage(iteration).batch_size
    assert schedule.patches_before(schedule.total_iter + 1) == taken


@given(schedules())
def test_switches_are_where_something_changes(schedule: Schedule) -> None:
    def at(iteration: int) -> tuple[Stage, tuple[str, ...] | None]:
        return schedule.stage(iteration), schedule.trainable(iteration)

    changes = [i for i in range(2, schedule.total_iter + 1) if at(i) != at(i - 1)]
    assert list(schedule.switches) == changes


@given(schedules())
def test_stages_follow_each_other(schedule: Schedule) -> None:
    begin = 0
    for stage in schedule.stages:
        for iteration in range(begin + 1, min(stage.last, schedule.total_iter) + 1):
            assert schedule.stage(iteration) is stage
        begin = stage.last


# Mistakes -------------------------------------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "stage without a batch": (
        {"progressive": {"iters": [4, 4], "patch_sizes": [8, 16], "batch_sizes": [2]}},
        "train.progressive: 2 iters, 2 patch_sizes, 1 batch_sizes; give each stage one of each",
    ),
    "patch without a stage": (
        {"progressive": {"iters": [8], "patch_sizes": [8, 16], "batch_sizes": [2]}},
        "train.progressive: 1 iters, 2 patch_sizes, 1 batch_sizes; give each stage one of each",
    ),
    "stages end too early": (
        {"progressive": {"iters": [4, 3], "patch_sizes": [8, 16], "batch_sizes": [2, 2]}},
        "train.progressive.iters: the stages end after 7 iterations, but total_iter is 8; lengthen the last stage, "
        "or lower total_iter",
    ),
    "restart without a weight": (
        {"scheduler": {"type": "MultiStepLR", "milestones": [4], "restarts": [0, 4]}},
        "train.scheduler.restart_weights: must have one number for each restart or period",
    ),
    "period without a weight": (
        {"scheduler": {"type": "CosineAnnealingRestartLR", "periods": [4, 4]}},
        "train.scheduler.restart_weights: must have one number for each restart or period",
    ),
    "warm-up beyond the end": (
        {"warmup_iter": 9, "scheduler": {"type": "CosineAnnealingLR"}},
        "train.warmup_iter: leaves no iteration for the cosine; shorten the warm-up",
    ),
    "weight without a period": (
        {"scheduler": {"type": "CosineAnnealingRestartLR", "periods": [8], "restart_weights": [1, 1]}},
        "train.scheduler.restart_weights: must have one number for each restart or period",
    ),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str, pairs: Path) -> None:
    changes, message = MISTAKES[mistake]
    options = training_options(pairs)
    options["train"] |= changes
    with pytest.raises(InputError) as caught:
        Schedule.from_options(options)
    assert caught.value.line == message


def test_stages_may_be_longer_than_the_run(pairs: Path) -> None:
    options = training_options(pairs)
    options["train"]["progressive"] = {"iters": [4, 40], "patch_sizes": [8, 16], "batch_sizes": [2, 2]}
    schedule = Schedule.from_options(options)
    assert schedule.switches == (5,)
    options["train"]["total_iter"] = 4
    assert Schedule.from_options(options).switches == ()
