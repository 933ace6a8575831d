"""Which patch an iteration takes: the same however many processes there are and wherever a training is resumed."""

import logging
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import photograph, training_options
from hypothesis import given
from hypothesis import strategies as st

from datasets_prep.lmdb_writer import write_pairs
from ramit_model.data.patches import PatchRequest
from ramit_model.system.errors import InputError
from ramit_model.training.sampler import PatchSampler, create_train_val_dataloader, training_set
from ramit_model.training.schedule import MultiStep, Schedule, Stage


def plan(*stages: tuple[int, int, int], total: int | None = None) -> Schedule:
    """A schedule of stages (iterations, patch size, batch size)."""
    ends = list(accumulate(length for length, _, _ in stages))
    return Schedule(
        total_iter=total or ends[-1],
        base_rate=1e-3,
        scheduler=MultiStep(()),
        stages=tuple(Stage(end, patch, batch) for end, (_, patch, batch) in zip(ends, stages, strict=True)),
    )


def batches(
    schedule: Schedule, images: int | Sequence[Sequence[int]], seed: int = 0, **where: int
) -> list[list[PatchRequest]]:
    return list(PatchSampler(schedule, images, seed=seed, **where))


PROGRESSIVE = plan((5, 8, 12), (7, 12, 6), (9, 16, 3))

stages = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 4)), min_size=1, max_size=3)


@given(stages, st.integers(1, 6), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_processes_together_take_what_one_takes(
    shape: list[tuple[int, int, int]], world_size: int, images: int, seed: int
) -> None:
    """Batches divide evenly, as the options are checked to do."""
    schedule = plan(*((length, patch, batch * world_size) for length, patch, batch in shape))
    whole = batches(schedule, images, seed)
    shares = [batches(schedule, images, seed, rank=rank, world_size=world_size) for rank in range(world_size)]
    for iteration, batch in enumerate(whole):
        parts = [share[iteration] for share in shares]
        assert len({len(part) for part in parts}) == 1
        # Each place of the batch is somebody's.
        assert [request for place in zip(*parts, strict=True) for request in place] == batch


@given(stages, st.integers(1, 3), st.integers(1, 30), st.integers(0, 20))
def test_a_resumed_training_goes_on_exactly(
    shape: list[tuple[int, int, int]], world_size: int, images: int, start: int
) -> None:
    schedule = plan(*shape)
    for rank in range(world_size):
        whole = batches(schedule, images, rank=rank, world_size=world_size)
        rest = PatchSampler(schedule, images, seed=0, rank=rank, world_size=world_size, start=start)
        assert list(rest) == whole[start:]
        assert len(rest) == len(whole[start:])


@given(stages, st.integers(1, 40), st.integers(0, 100))
def test_every_image_once_a_pass(shape: list[tuple[int, int, int]], images: int, seed: int) -> None:
    taken = [request.image for request in chain.from_iterable(batches(plan(*shape), images, seed))]
    for begin in range(0, len(taken), images):
        one_pass = taken[begin : begin + images]
        assert len(set(one_pass)) == len(one_pass)
        assert set(one_pass) <= set(range(images))


def test_passes_are_shuffled_anew() -> None:
    taken = [request.image for request in chain.from_iterable(batches(plan((40, 8, 10)), 20))]
    passes = [tuple(taken[begin : begin + 20]) for begin in range(0, 400, 20)]
    assert len(set(passes)) == 20
    assert tuple(range(20)) not in passes
    # No image has a place of its own: each is first at most a few times.
    assert max(Counter(one_pass[0] for one_pass in passes).values()) <= 5


def test_another_seed_is_another_training() -> None:
    one, other = (list(chain.from_iterable(batches(PROGRESSIVE, 10, seed))) for seed in (0, 1))
    assert [request.image for request in one] != [request.image for request in other]
    assert not {request.seed for request in one} & {request.seed for request in other}
    assert batches(PROGRESSIVE, 10, 1) == batches(PROGRESSIVE, 10, 1)


@given(stages, st.integers(1, 10), st.integers(0, 2**32 - 1))
def test_seeds_never_repeat(shape: list[tuple[int, int, int]], images: int, seed: int) -> None:
    requests = list(chain.from_iterable(batches(plan(*shape), images, seed)))
    assert len({request.seed for request in requests}) == len(requests)


def test_seeds_of_long_trainings_do_not_meet() -> None:
    """Those of seed 0 end before those of seed 1 begin, after 500,000 iterations and many more."""
    schedule = plan((500_000, 64, 64))
    last = PatchSampler(schedule, 800, seed=0).batch(500_000)[-1].seed
    assert last == 500_000 * 64 - 1
    assert last < PatchSampler(schedule, 800, seed=1).batch(1)[0].seed


def test_patch_and_batch_change_exactly_at_the_switch() -> None:
    whole = batches(PROGRESSIVE, 10)
    assert len(whole) == 21
    expected = [(12, {8})] * 5 + [(6, {12})] * 7 + [(3, {16})] * 9
    assert [(len(batch), {request.patch_size for request in batch}) for batch in whole] == expected
    # A pass over the images does not begin anew at a switch.
    order = [request.image for request in chain.from_iterable(whole)]
    assert sorted(order[60:70]) == list(range(10))
    assert batches(PROGRESSIVE, 10, start=4)[:2] == whole[4:6]


def test_the_end_of_a_training() -> None:
    schedule = plan((5, 8, 4), (50, 12, 2), total=9)
    assert [len(batch) for batch in batches(schedule, 10)] == [4] * 5 + [2] * 4
    for start in (9, 10):
        sampler = PatchSampler(schedule, 10, seed=0, start=start)
        assert (len(sampler), list(sampler)) == (0, [])


def test_basicsrs_epochs_change_nothing() -> None:
    sampler = PatchSampler(PROGRESSIVE, 10, seed=0)
    before = list(sampler)
    sampler.set_epoch(3)
    assert list(sampler) == before


# Sub-images -----------------------------------------------------------------------------------------------------------


@st.composite
def cut_images(draw: st.DrawFn) -> list[list[int]]:
    """The entries of each image, in any order."""
    counts = draw(st.lists(st.integers(1, 40), min_size=1, max_size=12))
    entries = draw(st.permutations(range(sum(counts))))
    ends = list(accumulate(counts))
    return [entries[end - count : end] for end, count in zip(ends, counts, strict=True)]


@given(cut_images(), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_every_image_equally_often_however_it_is_cut(images: list[list[int]], passes: int, seed: int) -> None:
    image_of = {entry: number for number, entries in enumerate(images) for entry in entries}
    schedule = plan((passes, 8, len(images)))
    for batch in batches(schedule, images, seed):
        assert sorted(image_of[request.image] for request in batch) == list(range(len(images)))


@given(cut_images(), st.integers(0, 100))
def test_images_have_the_order_and_patches_that_they_would_have_whole(images: list[list[int]], seed: int) -> None:
    cut, whole = (list(chain.from_iterable(batches(PROGRESSIVE, what, seed))) for what in (images, len(images)))
    for one, other in zip(cut, whole, strict=True):
        assert one.image in images[other.image]
        assert one[1:] == other[1:]


@given(cut_images(), stages, st.integers(1, 4), st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_sub_images_do_not_depend_on_processes_and_interruptions(
    images: list[list[int]], shape: list[tuple[int, int, int]], world_size: int, start: int, seed: int
) -> None:
    schedule = plan(*((length, patch, batch * world_size) for length, patch, batch in shape))
    whole = batches(schedule, images, seed)
    shares = [
        batches(schedule, images, seed, rank=rank, world_size=world_size, start=start) for rank in range(world_size)
    ]
    together = [[d for place in zip(*parts, strict=True) for d in place] for parts in zip(*shares, strict=True)]
    assert together == whole[start:]


def test_sub_images_of_an_image_are_equally_likely() -> None:
    """Fixed seeds; beyond these limits, a fair choice falls about once in 10,000 trials."""
    images = [list(range(20)), list(range(20, 23)), [23]]
    taken = [request for batch in batches(plan((6000, 8, 3)), images) for request in batch]
    counts = Counter(request.image for request in taken)
    assert counts[23] == 6000
    for entries in images[:2]:
        expected = 6000 / len(entries)
        chi_squared = sum((counts[entry] - expected) ** 2 / expected for entry in entries)
        assert chi_squared < {20: 50.8, 3: 18.4}[len(entries)]
    # Neither one's own last place, nor the first random number of the patch, tells which one comes.
    places = [request.image for request in taken if request.image < 20]
    assert 200 < sum(a == b for a, b in pairwise(places)) < 400
    halves = Counter(
        (request.image < 10, request.generator().random() < 0.5) for request in taken if request.image < 20
    )
    assert all(1350 < count < 1650 for count in halves.values())


def test_an_image_of_one_entry_is_a_whole_image() -> None:
    assert batches(PROGRESSIVE, [[i] for i in range(10)], 5) == batches(PROGRESSIVE, 10, 5)


# The loaders ----------------------------------------------------------------------------------------------------------


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def log() -> tuple[logging.Logger, list[str]]:
    logger, handler = logging.Logger("test"), Lines()
    logger.addHandler(handler)
    return logger, handler.lines


def parsed(options: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The options as they come from BasicSR's parser."""
    for phase, block in options["datasets"].items():
        block |= {"phase": phase.partition("_")[0], "scale": options["scale"]}
    return {**options, "dist": False, "rank": 0, "world_size": 1, **changes}


def progressive_options(pairs: Path, **changes: Any) -> dict[str, Any]:
    options = training_options(pairs)
    for key in ("gt_size", "batch_size_per_gpu", "dataset_enlarge_ratio"):
        del options["datasets"]["train"][key]
    options["train"]["progressive"] = {"iters": [3, 5], "patch_sizes": [8, 16], "batch_sizes": [4, 2]}
    return parsed(options, **changes)


def test_loaders_of_a_progressive_training(pairs: Path, log: tuple[logging.Logger, list[str]]) -> None:
    options = progressive_options(pairs)
    loader, sampler, validations, last_epoch, total = create_train_val_dataloader(options, log[0])
    sizes = [(tuple(batch["lq"].shape), tuple(batch["gt"].shape)) for batch in loader]
    assert sizes == [((4, 3, 8, 8), (4, 3, 16, 16))] * 3 + [((2, 3, 16, 16), (2, 3, 32, 32))] * 5
    assert len(loader) == len(sampler) == total == 8
    assert last_epoch == 0
    assert options["train_images"] == 9
    assert [len(validation) for validation in validations] == [9]
    (said,) = log[1]
    assert said.splitlines() == [
        "Training on 9 images of pairs, 8 iterations, 3 patches an image.",
        "\tfrom iteration 1: LQ patch 8, batch 4",
        "\tfrom iteration 4: LQ patch 16, batch 2",
    ]


@pytest.fixture(scope="module")
def cut_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LMDBs of a large image in 12 sub-images, one in two, and two whole ones."""
    keys = ["whole", *(f"large_s{i:03d}" for i in range(1, 13)), "small_s001", "small_s002", "whole_2"]
    folder = tmp_path_factory.mktemp("cut_pairs")
    write_pairs(((key, photograph(40, 40, seed=i)) for i, key in enumerate(keys)), folder, scale=2)
    return folder


def cut_options(cut_pairs: Path, kind: str, **changes: Any) -> dict[str, Any]:
    options = progressive_options(cut_pairs)
    options["datasets"]["train"] |= {"sub_images": True, **changes}
    if kind == "clean":
        del options["datasets"]["train"]["dataroot_lq"]
        options["datasets"]["train"] |= {"type": "CleanImageDataset", "sigma": [0, 50], "scale": 1}
        options |= {"scale": 1}
    return options


@pytest.mark.parametrize("kind", ["pairs", "clean"])
def test_large_images_come_as_often_as_small_ones(
    kind: str, cut_pairs: Path, log: tuple[logging.Logger, list[str]]
) -> None:
    options = cut_options(cut_pairs, kind)
    options["train"] |= {"total_iter": 100, "progressive": dict(iters=[100], patch_sizes=[8], batch_sizes=[4])}
    loader = create_train_val_dataloader(options, log[0])[0]
    keys = [key for batch in loader for key in batch["gt_path"]]
    assert Counter(key.partition("_s")[0] for key in keys) == dict(whole=100, large=100, small=100, whole_2=100)
    assert len(set(keys)) == 16
    assert options["train_images"] == 4
    said = "Training on 4 images (16 sub-images) of pairs, 100 iterations, 100 patches an image."
    assert log[1][0].splitlines()[0] == said


def test_sub_images_are_images_where_the_option_is_not_set(
    cut_pairs: Path, log: tuple[logging.Logger, list[str]]
) -> None:
    options = cut_options(cut_pairs, "pairs", sub_images=False)
    create_train_val_dataloader(options, log[0])
    assert options["train_images"] == 16
    assert log[1][0].startswith("Training on 16 images of pairs, 8 iterations, 2 patches an image.")
    cut_set, sampler = training_set(options)
    assert list(sampler) == batches(sampler.schedule, len(cut_set))


def test_whole_images_only(pairs: Path, log: tuple[logging.Logger, list[str]]) -> None:
    options = cut_options(pairs, "pairs")
    create_train_val_dataloader(options, log[0])
    assert options["train_images"] == 9
    assert list(training_set(options)[1]) == list(training_set(progressive_options(pairs))[1])


def test_warm_start_is_described(pairs: Path, log: tuple[logging.Logger, list[str]]) -> None:
    options = parsed(training_options(pairs))
    options["train"]["warm_start"] = {"iters": 3, "trainable": ["to_target", "shallow"]}
    create_train_val_dataloader(options, log[0])
    assert log[1][0].splitlines()[1:] == [
        "\tfrom iteration 1: LQ patch 16, batch 2, only to_target, shallow",
        "\tfrom iteration 4: LQ patch 16, batch 2",
    ]


@pytest.mark.parametrize("prefetch_mode", [None, "cpu"])
@pytest.mark.parametrize("workers", [0, 1])
def test_resumed_loaders_go_on_exactly(
    pairs: Path, log: tuple[logging.Logger, list[str]], workers: int, prefetch_mode: str | None
) -> None:
    whole = create_train_val_dataloader(progressive_options(pairs), log[0])[0]
    options = progressive_options(pairs, resume_iter=2)
    options["datasets"]["train"] |= {"num_worker_per_gpu": workers, "prefetch_mode": prefetch_mode}
    rest = create_train_val_dataloader(options, log[0])[0]
    for one, other in zip(list(whole)[2:], rest, strict=True):
        assert one["gt_path"] == other["gt_path"]
        assert torch.equal(one["lq"], other["lq"])
        assert torch.equal(one["gt"], other["gt"])


def test_processes_share_the_batches_out(pairs: Path, log: tuple[logging.Logger, list[str]]) -> None:
    whole = create_train_val_dataloader(progressive_options(pairs), log[0])[0]
    shares = [
        create_train_val_dataloader(progressive_options(pairs, rank=rank, world_size=2), log[0])[0] for rank in (0, 1)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        for place, part in enumerate(parts):
            assert torch.equal(batch["lq"][place::2], part["lq"])


def test_workers_start_with_the_first_batch(
    pairs: Path, log: tuple[logging.Logger, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """BasicSR makes an iterator that it never asks before the one that it uses."""
    started = []
    original = torch.utils.data.DataLoader.__iter__
    monkeypatch.setattr(torch.utils.data.DataLoader, "__iter__", lambda self: started.append(1) or original(self))
    loader = create_train_val_dataloader(progressive_options(pairs), log[0])[0]
    iter(loader)
    assert started == []
    used = iter(loader)
    next(used)
    next(used)
    assert started == [1]


def test_images_are_checked_against_the_largest_patch(pairs: Path, log: tuple[logging.Logger, list[str]]) -> None:
    options = progressive_options(pairs)
    options["train"]["progressive"]["patch_sizes"] = [8, 21]
    with pytest.raises(InputError, match=r"data set pairs: .*HR\.lmdb, entry p8: 40x64 is smaller than the GT patch"):
        create_train_val_dataloader(options, log[0])
    # A run that ends before it takes them.
    options["train"]["total_iter"] = options["train"]["progressive"]["iters"][0]
    create_train_val_dataloader(options, log[0])


def test_several_validation_sets_in_order(pairs: Path, log: tuple[logging.Logger, list[str]]) -> None:
    options = training_options(pairs)
    val = options["datasets"].pop("val")
    options["datasets"] |= {"val_1": {**val, "name": "one"}, "val_2": {**val, "name": "two"}}
    loaders = create_train_val_dataloader(parsed(options), log[0])[2]
    assert [loader.dataset.opt["name"] for loader in loaders] == ["one", "two"]
    assert [loader.batch_size for loader in loaders] == [1, 1]


def plain_options(pairs: Path, **changes: Any) -> dict[str, Any]:
    """Options that take BasicSR's own data set, which has its own loader."""
    options = training_options(pairs)
    del options["datasets"]["val"]
    options["datasets"]["train"] |= {"type": "PairedImageDataset", **changes}
    return parsed(options)


def test_basicsrs_own_data_sets_keep_basicsrs_loader(pairs: Path, log: tuple[logging.Logger, list[str]]) -> None:
    options = plain_options(pairs)
    loader, sampler, _, last_epoch, total = create_train_val_dataloader(options, log[0])
    # Nine images, each four times an epoch, two a batch.
    assert (len(sampler), len(loader), last_epoch, total) == (36, 18, 1, 8)
    assert next(iter(loader))["lq"].shape == (2, 3, 16, 16)
    assert "train_images" not in options


def test_an_epoch_of_basicsrs_own_that_makes_no_batch(pairs: Path, log: tuple[logging.Logger, list[str]]) -> None:
    with pytest.raises(InputError) as caught:
        create_train_val_dataloader(plain_options(pairs, batch_size_per_gpu=64), log[0])
    assert str(caught.value) == (
        "data set pairs: 36 patches an epoch make no batch of 64; raise dataset_enlarge_ratio, or take smaller batches"
    )
    create_train_val_dataloader(plain_options(pairs, batch_size_per_gpu=36), log[0])


def test_few_images_make_large_batches(pairs: Path, log: tuple[logging.Logger, list[str]]) -> None:
    """Nine images, 64 patches a batch: seven passes are in the first batch, and a part of the next."""
    options = parsed(training_options(pairs))
    options["datasets"]["train"]["batch_size_per_gpu"] = 64
    batch = next(iter(create_train_val_dataloader(options, log[0])[0]))
    assert batch["lq"].shape == (64, 3, 16, 16)
    assert sorted(Counter(batch["gt_path"]).values()) == [7] * 8 + [8]
