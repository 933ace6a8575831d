"""Quality, image by image: numbers, pictures, images that memory is too small for, what is measured only once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils import FileClient
from basicsr.utils.matlab_functions import imresize
from benchmark_options import NETWORKS, benchmark_options, measure_in_this_process, save_weights
from generators import restore_or_die
from helpers import TINY, changed, photograph
from torch import Tensor

from ramit_model.benchmark.measure import quality as module
from ramit_model.benchmark.measure import restoring
from ramit_model.benchmark.measure.fingerprints import environment
from ramit_model.benchmark.measure.image_sets import EvalImage, ImageSet, read_gt, read_sets
from ramit_model.benchmark.measure.isolation import KilledError
from ramit_model.benchmark.measure.measurements import Measurements
from ramit_model.benchmark.measure.quality import Quality
from ramit_model.benchmark.measure.restoring import Task, restore_images
from ramit_model.benchmark.plan import load_plan, reference_name
from ramit_model.data.degradation import add_test_noise
from ramit_model.data.reading import to_tensor
from ramit_model.inference.restoring import restore_pixels
from ramit_model.inference.tiling import Tiling
from ramit_model.system.errors import InputError

NAMES = [f"p{i}" for i in range(9)]
LARGE = "p7"
"""50x66 pixels; all others are smaller."""

Prepare = Callable[..., Quality]


@pytest.fixture
def weights(tmp_path: Path) -> dict[str, Path]:
    return {"plain": save_weights(tmp_path / "plain.pth", "plain")}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What processes would have been started for."""
    return measure_in_this_process(monkeypatch)


@pytest.fixture
def prepare(tmp_path: Path, write_options: Callable[..., Path]) -> Iterator[Prepare]:
    """Makes a `Quality` of options, always with the same file of measurements."""
    stores: list[Measurements] = []

    def make(options: dict[str, Any], **arguments: Any) -> Quality:
        for store in stores:
            store.__exit__()
        stores[:] = [Measurements(tmp_path / "out/measurements.jsonl")]
        plan = load_plan(write_options(options), **arguments)
        return Quality(plan, read_sets(plan), stores[0], environment(), tmp_path / "out/pictures")

    yield make
    for store in stores:
        store.__exit__()


def values(quality: Quality, which: int = 0) -> dict[str, dict[str, Any]]:
    """Image -> what was measured; of the reference, or of the network with number `which`."""
    (image_set,) = quality.image_sets
    return {image.name: quality.value(image_set, quality.networks[which], image) for image in image_set.images}


def stored(folder: Path, name: str) -> np.ndarray:
    """A picture in an LMDB, BGR 8-bit."""
    content = FileClient("lmdb", db_paths=str(folder)).get(name)
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def test_all_images_are_read(pairs: Path, prepare: Prepare) -> None:
    (whole,) = prepare(benchmark_options(pairs)).image_sets
    assert (whole.name, whole.image_count) == ("pairs", 9)
    assert [image.name for image in whole.images] == NAMES
    assert [image.index for image in whole.images] == list(range(9))
    assert len({image.digest for image in whole.images}) == 9
    (some,) = prepare(benchmark_options(pairs), limit=4).image_sets
    assert some.image_count == 9
    assert list(some.images) == list(whole.images[:4])
    gt = read_gt(whole, whole.images[7])
    np.testing.assert_array_equal(gt, stored(pairs / "HR.lmdb", LARGE))


def noise_options(pairs: Path, sigma: list[float]) -> dict[str, Any]:
    options = benchmark_options(pairs, scale=1, strips=[])
    options["networks"] = {"gray": {"network_g": {**TINY, "scale": 1, "task": "GDN"}}}
    block = options["datasets"]["test_1"]
    block.update(type="CleanImageDataset", color="gray")
    del block["dataroot_lq"]
    options["val"]["sigma"] = sigma
    return options


def test_a_digest_is_that_of_the_noise_too(pairs: Path, prepare: Prepare) -> None:
    one, other = prepare(noise_options(pairs, [15, 25])).image_sets
    assert {image.digest for image in one.images}.isdisjoint(image.digest for image in other.images)
    assert prepare(noise_options(pairs, [15])).image_sets[0].images == one.images


def disk_options(tmp_path: Path, pairs: Path, names: list[str]) -> dict[str, Any]:
    """Options with a set of pairs of files."""
    for folder, side in (("HR", 32), ("LR", 16)):
        for i, name in enumerate(names):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / name), photograph(side, side, seed=i))
    options = benchmark_options(pairs)
    options["datasets"]["test_1"].update(
        io_backend={"type": "disk"}, dataroot_gt=str(tmp_path / "HR"), dataroot_lq=str(tmp_path / "LR")
    )
    return options


def test_bad_images_are_found_first(tmp_path: Path, pairs: Path, prepare: Prepare) -> None:
    options = disk_options(tmp_path, pairs, ["a.png", "b.png"])
    prepare(options)
    content = (tmp_path / "LR/b.png").read_bytes()
    (tmp_path / "LR/b.png").write_bytes(content[: len(content) // 3])
    with pytest.raises(InputError) as caught:
        prepare(options)
    assert caught.value.line.startswith(f"data set pairs: {tmp_path / 'LR/b.png'}: is cut short or damaged")
    cv2.imwrite(str(tmp_path / "LR/b.png"), photograph(10, 10))
    with pytest.raises(InputError, match=r"b\.png: GT is 32x32, but LQ 10x10 times scale 2 is 20x20"):
        prepare(options)


def test_two_images_of_a_name(tmp_path: Path, pairs: Path, prepare: Prepare) -> None:
    with pytest.raises(InputError, match=r"data set pairs: a\.bmp and a\.png: would have one result"):
        prepare(disk_options(tmp_path, pairs, ["a.png", "a.bmp"]))


def test_the_reference_is_bicubic(pairs: Path, prepare: Prepare, started: list[Any]) -> None:
    quality = prepare(benchmark_options(pairs))
    assert quality.networks == [None]  # none has weights
    quality.measure()
    assert len(started) == 1
    for name, value in values(quality).items():
        lq, gt = (stored(pairs / f"{kind}.lmdb", name) for kind in ("LR_bicubic_X2", "HR"))
        large = imresize(lq.astype(np.float32) / 255, 2)
        result = np.clip(large * 255, 0, 255).round().astype(np.uint8)
        gt = gt[: result.shape[0], : result.shape[1]]
        wanted = {
            "psnr": calculate_psnr(result, gt, crop_border=2, test_y_channel=True),
            "ssim": calculate_ssim(result, gt, crop_border=2, test_y_channel=True),
        }
        assert value == {"metrics": pytest.approx(wanted, rel=1e-5), "tiled": False}


def test_the_reference_of_denoising_is_the_input(pairs: Path, prepare: Prepare, started: list[Any]) -> None:
    quality = prepare(noise_options(pairs, [25]))
    quality.measure()
    assert reference_name(quality.plan.scale) == "input"
    for name, value in values(quality).items():
        clean = cv2.cvtColor(stored(pairs / "HR.lmdb", name), cv2.COLOR_BGR2GRAY)
        noisy = add_test_noise(to_tensor(clean[..., None]), 25)[0].numpy()
        result = np.clip(noisy * 255, 0, 255).round().astype(np.uint8)
        wanted = calculate_psnr(result[..., None], clean[..., None], crop_border=2)
        assert value["metrics"]["psnr"] == pytest.approx(wanted, rel=1e-6)


def test_nothing_is_measured_twice(
    pairs: Path, tmp_path: Path, weights: dict[str, Path], prepare: Prepare, started: list[Any]
) -> None:
    options = benchmark_options(pairs, weights, strips=[])
    first = prepare(options, limit=5)
    first.measure()
    assert [task.images.keys() for _, task in started] == [set(range(5))] * 2
    before = values(first, 1)
    again = prepare(options, limit=5)
    again.measure()
    assert len(started) == 2
    # Another four, then another network under another name, which has the same weights.
    more = prepare(options)
    more.measure()
    assert [task.images.keys() for _, task in started[2:]] == [set(range(5, 9))] * 2
    assert {name: values(more, 1)[name] for name in before} == before
    renamed = {**options["networks"], "same": options["networks"]["plain"]}
    del renamed["plain"]
    quality = prepare({**options, "networks": renamed})
    quality.measure()
    assert len(started) == 4
    assert values(quality, 1) == values(more, 1)
    # Other weights, other metrics: all anew.
    options["networks"]["plain"]["weights"] = str(save_weights(tmp_path / "other.pth", "plain", seed=1))
    other = prepare(options)
    other.measure()
    assert [(task.network, len(task.images)) for _, task in started[4:]] == [("plain", 9)]
    assert values(other, 1) != values(more, 1)
    prepare(changed(options, "val.metrics.psnr.crop_border", 3)).measure()
    assert [(task.network, len(task.images)) for _, task in started[5:]] == [(None, 9), ("plain", 9)]


def test_pictures_of_strips_are_kept(
    pairs: Path, weights: dict[str, Path], prepare: Prepare, started: list[Any]
) -> None:
    strips = [{"dataset": "pairs", "image": LARGE}, {"dataset": "pairs"}, {"dataset": "pairs", "image": "nobody"}]
    quality = prepare(benchmark_options(pairs, weights, strips=strips))
    assert [(strip.image.name, strip.plan.image) for strip in quality.strips()] == [(LARGE, LARGE), ("p0", None)]
    quality.measure()
    (image_set,) = quality.image_sets
    assert len(list(quality.folder.iterdir())) == 4
    for which, network in enumerate(quality.networks):
        for index in (0, 7):
            image = image_set.images[index]
            picture = cv2.imread(str(quality.picture(image_set, network, image)), cv2.IMREAD_UNCHANGED)
            found = calculate_psnr(picture, read_gt(image_set, image), crop_border=2, test_y_channel=True)
            assert found == values(quality, which)[image.name]["metrics"]["psnr"]
    # What is lost or damaged is made again, and no more than that; nothing is noted twice.
    journal = quality.folder.with_name("measurements.jsonl")
    noted = journal.read_bytes()
    path = quality.picture(image_set, quality.networks[1], image_set.images[7])
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(flipped) // 2] ^= 0xFF
    for damaged in (None, bytes(flipped), content[:-20], content[:7], b""):
        path.unlink() if damaged is None else path.write_bytes(damaged)
        started.clear()
        quality.measure()
        assert [(task.network, list(task.images)) for _, task in started] == [("plain", [7])]
        assert path.read_bytes() == content
        assert journal.read_bytes() == noted
    assert len(list(quality.folder.iterdir())) == 4


def test_weights_that_do_not_fit(pairs: Path, tmp_path: Path, prepare: Prepare, started: list[Any]) -> None:
    wrong = {"tiny": save_weights(tmp_path / "wide.pth", "wide")}
    with pytest.raises(InputError) as caught:
        prepare(benchmark_options(pairs, wrong)).measure()
    assert caught.value.line.startswith(f"{tmp_path / 'wide.pth'}: ")


# Memory ---------------------------------------------------------------------------------------------------------------


def too_large(error: Exception, largest: int = 32) -> Callable[[Task], Callable[[Tensor, Tiling], Tensor]]:
    """In place of `_restoration`: a network whose inputs may be no wider than `largest`."""

    def enlarge(lq: Tensor) -> Tensor:
        if lq.shape[-1] > largest:
            raise error
        return torch.nn.functional.interpolate(lq, scale_factor=2, mode="nearest")

    return lambda task: lambda lq, tiling: restore_pixels(enlarge, lq, unit=1, scale=2, tiling=tiling)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("can't allocate memory")]
)
def test_an_image_without_memory(
    error: Exception, pairs: Path, prepare: Prepare, started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "_restoration", too_large(error))
    quality = prepare(benchmark_options(pairs))
    quality.measure()
    found = values(quality)
    assert found.pop(LARGE) == {"out_of_memory": True}
    assert [list(value) for value in found.values()] == [["metrics", "tiled"]] * 8
    # A fact like any other: the same again would not do better.
    quality.measure()
    assert len(started) == 1


def test_an_image_in_tiles(pairs: Path, prepare: Prepare, started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    strips = [{"dataset": "pairs", "image": LARGE}]
    options = benchmark_options(pairs, strips=strips)
    monkeypatch.setattr(restoring, "_restoration", too_large(torch.OutOfMemoryError("no"), 100))
    whole = prepare(options)
    whole.measure()
    monkeypatch.setattr(restoring, "_restoration", too_large(torch.OutOfMemoryError("no")))
    quality = prepare(changed(options, "val.tile", 20))
    quality.measure()
    found = values(quality)
    assert [name for name, value in found.items() if value["tiled"]] == [LARGE]
    # This network sees one pixel at a time.
    assert {name: value["metrics"] for name, value in found.items()} == {
        name: value["metrics"] for name, value in values(whole).items()
    }
    (image_set,) = quality.image_sets
    assert quality.picture(image_set, None, image_set.images[7]).is_file()
    # Tiles that are too large as well.
    quality = prepare(changed(options, "val.tile", 33))
    quality.measure()
    assert [name for name, value in values(quality).items() if "out_of_memory" in value] == [LARGE]


def test_other_errors_end_it(
    pairs: Path, prepare: Prepare, started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "_restoration", too_large(RuntimeError("shapes do not fit")))
    quality = prepare(benchmark_options(pairs))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        quality.measure()
    # What was measured before stays.
    assert [name for name, value in values(quality).items() if value] == NAMES[:7]


def killed(at: dict[int, str]) -> Callable[..., Iterator[tuple[int, dict[str, Any] | None]]]:
    """In place of `isolated`: killed at some images, `before` they are begun, or while they are not `tiled`."""

    def run(_: Any, task: Task) -> Iterator[tuple[int, dict[str, Any] | None]]:
        events = [event for index in task.images for event in (("started", index), ("measured", index))]
        for event, index in events:
            when = at.get(index)
            if event == "started" and when == "before":
                del at[index]
                raise KilledError("the process ended with code -9")
            yield index, {"metrics": {"psnr": 1.0}, "tiled": index in task.tiled} if event == "measured" else None
            if event == "started" and (when == "always" or (when == "whole" and index not in task.tiled)):
                raise KilledError("the process ended with code -9")
            if event == "measured" and when == "after":
                raise KilledError("the process ended with code -9")

    return run


@pytest.mark.parametrize(
    ("at", "tile", "lost", "tiled"),
    [
        ({3: "always"}, None, ["p3"], []),
        ({0: "always", 1: "always", 8: "always"}, None, ["p0", "p1", "p8"], []),
        ({3: "whole", 5: "always"}, 16, ["p5"], ["p3"]),
        ({3: "whole"}, None, ["p3"], []),
        # While the image is read; with tiles it gets a second chance.
        ({3: "before"}, None, ["p3"], []),
        ({3: "before"}, 16, [], ["p3"]),
        ({0: "before"}, None, ["p0"], []),
        ({8: "after"}, None, [], []),
    ],
)
def test_a_killed_process_costs_one_image(
    at: dict[int, str],
    tile: int | None,
    lost: list[str],
    tiled: list[str],
    pairs: Path,
    prepare: Prepare,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "isolated", killed(dict(at)))
    quality = prepare(changed(benchmark_options(pairs), "val.tile", tile))
    quality.measure()
    found = values(quality)
    assert all(found.values())
    assert [name for name, value in found.items() if "out_of_memory" in value] == lost
    assert [name for name, value in found.items() if value.get("tiled")] == tiled


def test_a_process_that_is_really_killed(pairs: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "restore_images", restore_or_die)
    quality = prepare(benchmark_options(pairs), limit=4)
    quality.measure()
    assert values(quality) == {
        "p0": {"metrics": {"psnr": 0.0, "ssim": 0.5}, "tiled": False},
        "p1": {"metrics": {"psnr": 1.0, "ssim": 0.5}, "tiled": False},
        "p2": {"out_of_memory": True},
        "p3": {"metrics": {"psnr": 3.0, "ssim": 0.5}, "tiled": False},
    }


def test_what_a_process_is_given(pairs: Path, weights: dict[str, Path], prepare: Prepare, started: list[Any]) -> None:
    options = benchmark_options(pairs, weights)
    options["networks"]["plain"]["param_key"] = "params_ema"
    prepare(options, limit=2).measure()
    (first, reference), (second, task) = started
    assert first is second is restore_images
    assert (reference.network, reference.options) == (None, {})
    assert (task.network, task.scale, task.tile) == ("plain", 2, None)
    assert task.options["network_g"] == NETWORKS["plain"]
    assert task.options["path"] == {
        "pretrain_network_g": str(weights["plain"]),
        "strict_load_g": True,
        "param_key_g": "params_ema",
    }
    assert [path is not None for path in task.images.values()] == [False, True]  # p1 is drawn


def test_sets_and_images_are_not_collected_as_tests() -> None:
    assert not any(kind.__name__.startswith("Test") for kind in (ImageSet, EvalImage))
