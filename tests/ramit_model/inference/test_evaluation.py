"""Restoring and measuring the images of a set, tables, and pictures side by side."""

import csv
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from helpers import photograph
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ramit_model.data.degradation import add_test_noise
from ramit_model.data.reading import to_tensor
from ramit_model.inference.evaluation import (
    ImageResult,
    Pictures,
    averages,
    evaluate,
    measure,
    needs_gt,
    save_picture,
    side_by_side,
    write_table,
)
from ramit_model.system.errors import InputError, NotEnoughMemoryError

PSNR = {"psnr": {"type": "calculate_psnr", "crop_border": 0, "test_y_channel": False}}
SIZES = [(24, 32), (32, 24), (16, 40), (24, 24), (17, 19)]


def picture(index: int, *, gray: bool = False) -> np.ndarray:
    image = photograph(*SIZES[index], seed=index)
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None] if gray else image


class NoisyImages(Dataset[dict[str, Any]]):
    """Five photographs with the noise of the tests."""

    def __init__(self, *, gray: bool = False, gt: bool = True) -> None:
        self.opt = {"name": "photographs"}
        self.gray, self.gt = gray, gt

    def __len__(self) -> int:
        return len(SIZES)

    def __getitem__(self, index: int) -> dict[str, Any]:
        gt = to_tensor(picture(index, gray=self.gray))
        item = {"lq": add_test_noise(gt, 25), "lq_path": f"LQ/noisy_{index}.png"}
        return {**item, "gt": gt, "gt_path": f"GT/photo_{index}.png"} if self.gt else item


def identity(x: Tensor) -> Tensor:
    return x


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other.astype(float)) ** 2))


def eight_bit(x: Tensor) -> np.ndarray:
    """(1 or 3, H, W) RGB, any range -> (H, W) or (H, W, 3) BGR, by hand."""
    image = np.rint(np.clip(x.numpy(), 0, 1) * 255).astype(np.uint8)
    return image[0] if len(image) == 1 else image[::-1].transpose(1, 2, 0)


@pytest.mark.parametrize("gray", [False, True])
def test_each_image_is_restored_and_measured(gray: bool) -> None:
    dataset = NoisyImages(gray=gray)
    evaluated = list(evaluate(identity, DataLoader(dataset), PSNR))
    assert len(evaluated) == len(SIZES)
    for index, (result, pictures) in enumerate(evaluated):
        gt, noisy = picture(index, gray=gray), eight_bit(dataset[index]["lq"])
        assert (result.index, result.name) == (index, f"photo_{index}")
        np.testing.assert_array_equal(pictures.result, noisy)
        np.testing.assert_array_equal(pictures.lq, noisy)
        np.testing.assert_array_equal(pictures.gt, gt[..., 0] if gray else gt)
        assert pictures.result.dtype == np.uint8
        assert result.metrics.keys() == {"psnr"}
        assert result.metrics["psnr"] == pytest.approx(psnr(noisy.reshape(gt.shape), gt), abs=1e-9)
        # 20.17 dB is noise of level 25 on many pixels, none of them clipped.
        assert 19 < result.metrics["psnr"] < 23


def test_the_network_gets_one_image_as_it_is() -> None:
    """A batch of one, not clipped."""
    given = []

    def restore(x: Tensor) -> Tensor:
        given.append(x.clone())
        return x.clamp(0, 1)

    dataset = NoisyImages()
    list(evaluate(restore, DataLoader(dataset), {}))
    for index, x in enumerate(given):
        assert torch.equal(x, dataset[index]["lq"][None])


def test_results_are_clamped_and_rounded() -> None:
    def restore(x: Tensor) -> Tensor:
        ramp = torch.tensor([-3, -0.002, 0.4 / 255, 0.6 / 255, 254.4 / 255, 254.6 / 255, 1.002, 3])
        return ramp.repeat(1, 3, 4, 1)

    (_, pictures), *_ = evaluate(restore, DataLoader(NoisyImages(gt=False)), {})
    assert pictures.result[0, :, 0].tolist() == [0, 0, 0, 1, 254, 255, 255, 255]


def test_several_metrics_and_their_options() -> None:
    metrics = {
        **PSNR,
        "inner": {"type": "calculate_psnr", "crop_border": 4, "test_y_channel": False, "better": "higher"},
        "ssim": {"type": "calculate_ssim", "crop_border": 0, "test_y_channel": True},
    }
    unchanged = {name: dict(block) for name, block in metrics.items()}
    (result, pictures), *_ = evaluate(identity, DataLoader(NoisyImages()), metrics)
    assert list(result.metrics) == ["psnr", "inner", "ssim"]
    inner = psnr(pictures.result[4:-4, 4:-4], pictures.gt[4:-4, 4:-4])
    assert result.metrics["inner"] == pytest.approx(inner, abs=1e-9)
    assert result.metrics["inner"] != result.metrics["psnr"]
    assert 0 < result.metrics["ssim"] < 1
    assert all(type(value) is float for value in result.metrics.values())
    assert metrics == unchanged


def test_images_without_gt() -> None:
    results = list(evaluate(identity, DataLoader(NoisyImages(gt=False)), PSNR))
    assert [result.name for result, _ in results] == [f"noisy_{i}" for i in range(5)]
    assert all(result.metrics == {} and pictures.gt is None for result, pictures in results)


class Photos(NoisyImages):
    """Photographs without GT, the second of which is damaged."""

    names = ("0", "1", "2", "3", "4")

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"problem": "1.png: damaged", "lq_path": "1.png"} if index == 1 else super().__getitem__(index)


def test_a_damaged_photo_does_not_end_a_test() -> None:
    results = list(evaluate(identity, DataLoader(Photos(gt=False)), PSNR))
    assert [(result.name, result.problem, pictures is None) for result, pictures in results] == [
        ("0", None, False),
        ("1", "1.png: damaged", True),
        *((name, None, False) for name in "234"),
    ]


def test_a_photo_that_is_too_large_is_named_and_the_others_are_restored() -> None:
    def restore(x: Tensor) -> Tensor:
        if x.shape[2:] == SIZES[1]:
            raise NotEnoughMemoryError("val.tile: ~: no memory; write auto")
        return x

    results = [result.problem for result, _ in evaluate(restore, DataLoader(NoisyImages(gt=False)), PSNR)]
    line = "data set photographs: LQ/noisy_1.png: val.tile: ~: no memory; write auto"
    assert results == [None, line, None, None, None]
    with pytest.raises(NotEnoughMemoryError, match=re.escape(line)):
        list(evaluate(restore, DataLoader(NoisyImages()), PSNR))


def test_metrics_without_reference_need_no_gt() -> None:
    metrics = {**PSNR, "niqe": {"type": "calculate_niqe", "crop_border": 0}}
    loader = DataLoader([{"lq": to_tensor(photograph(200, 200)), "lq_path": "a.png"}])
    assert [needs_gt(block) for block in metrics.values()] == [True, False]
    measured = measure(identity, next(iter(loader)), metrics)
    assert list(measured.metrics) == ["niqe"]


def test_a_metric_that_fails_is_named_with_its_image() -> None:
    metrics = {"niqe": {"type": "calculate_niqe", "crop_border": 0}}
    loader = DataLoader([{"lq": to_tensor(photograph(40, 48)), "lq_path": "a.png"}])
    line = r"^a\.png: niqe cannot be measured on 48x40 pixels"
    with pytest.raises(InputError, match=line):
        measure(identity, next(iter(loader)), metrics)


def test_two_images_of_one_name_are_refused() -> None:
    """Whatever the data set, one result would replace the other."""

    class Twins(NoisyImages):
        paths = ("a/shot.png", "a/shot.jpg", "b", "c", "d")

    with pytest.raises(InputError, match=r"shot\.png and shot\.jpg: would have one result, shot; rename"):
        list(evaluate(identity, DataLoader(Twins()), PSNR))


def test_enlarging_networks() -> None:
    def twice(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    (_, pictures), *_ = evaluate(twice, DataLoader(NoisyImages(gt=False)), {})
    assert pictures.lq.shape == (24, 32, 3)
    assert pictures.result.shape == (48, 64, 3)


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_processes_share_the_images_out(monkeypatch: pytest.MonkeyPatch, world_size: int) -> None:
    alone = [result for result, _ in evaluate(identity, DataLoader(NoisyImages()), PSNR)]
    shares = []
    for rank in range(world_size):
        process = SimpleNamespace(
            is_initialized=lambda: True, get_rank=lambda rank=rank: rank, get_world_size=lambda: world_size
        )
        monkeypatch.setattr("ramit_model.inference.evaluation.dist", process)
        shares.append([result for result, _ in evaluate(identity, DataLoader(NoisyImages()), PSNR)])
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    together = [result for share in shares for result in share]
    assert len(together) == len(SIZES)
    assert sorted(together, key=lambda result: result.index) == alone


# Tables ---------------------------------------------------------------------------------------------------------------

RESULTS = [
    ImageResult(0, "baby", {"psnr": 38.25, "ssim": 0.5}),
    ImageResult(1, "bird, small", {"psnr": 40.5, "ssim": 0.75}),
    ImageResult(2, "butterfly", {"psnr": 1 / 3, "ssim": 1.0}),
]


def test_averages() -> None:
    assert averages(RESULTS) == pytest.approx({"psnr": (38.25 + 40.5 + 1 / 3) / 3, "ssim": 0.75}, rel=1e-12)
    assert list(averages(RESULTS)) == ["psnr", "ssim"]
    assert all(type(value) is float for value in averages(RESULTS).values())
    assert averages(RESULTS[:1]) == {"psnr": 38.25, "ssim": 0.5}
    assert averages([ImageResult(0, "a", {})]) == {}


def test_an_infinite_metric() -> None:
    """An image that is restored without any error."""
    same = ImageResult(3, "same", {"psnr": float("inf"), "ssim": 1.0})
    assert averages([*RESULTS, same])["psnr"] == float("inf")


def test_table(tmp_path: Path) -> None:
    text = write_table(tmp_path / "Set5.csv", RESULTS)
    expected = [
        ["image", "psnr", "ssim"],
        ["baby", "38.250000", "0.500000"],
        ["bird, small", "40.500000", "0.750000"],
        ["butterfly", "0.333333", "1.000000"],
        ["average", "26.361111", "0.750000"],
    ]
    with (tmp_path / "Set5.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == expected
    assert [line.removeprefix("\t").split("  ") for line in text.split("\n")] == expected


# Pictures -------------------------------------------------------------------------------------------------------------


def test_side_by_side_in_colour() -> None:
    lq, result, gt = photograph(6, 10, 1), photograph(12, 20, 2), photograph(12, 20, 3)
    row = side_by_side(Pictures(lq, result, gt))
    assert (row.shape, row.dtype) == ((12, 60, 3), np.uint8)
    np.testing.assert_array_equal(row[:, :20], lq.repeat(2, 0).repeat(2, 1)[..., ::-1])
    np.testing.assert_array_equal(row[:, 20:40], result[..., ::-1])
    np.testing.assert_array_equal(row[:, 40:], gt[..., ::-1])


def test_side_by_side_in_gray() -> None:
    lq, result, gt = (photograph(9, 7, seed)[..., 0].copy() for seed in (1, 2, 3))
    row = side_by_side(Pictures(lq, result, gt))
    assert row.shape == (9, 21, 3)
    for place, image in enumerate((lq, result, gt)):
        for channel in range(3):
            np.testing.assert_array_equal(row[:, 7 * place : 7 * place + 7, channel], image)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_lq_is_enlarged_pixel_by_pixel(scale: int) -> None:
    lq = photograph(11, 13)
    result = np.zeros((11 * scale, 13 * scale, 3), np.uint8)
    row = side_by_side(Pictures(lq, result, None))
    assert row.shape == (11 * scale, 2 * 13 * scale, 3)
    np.testing.assert_array_equal(row[:, : 13 * scale], lq[..., ::-1].repeat(scale, 0).repeat(scale, 1))
    assert not row[:, 13 * scale :].any()


@pytest.mark.parametrize("gray", [False, True])
def test_a_saved_picture_is_the_picture(tmp_path: Path, gray: bool) -> None:
    image = photograph(9, 7)[..., 0].copy() if gray else photograph(9, 7)
    save_picture(image, tmp_path / "new/folder/a.png")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "new/folder/a.png"), cv2.IMREAD_UNCHANGED), image)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """OpenCV ends the process at such a path, and no encoder takes it."""
    name = "\udcd6\udcd0"
    save_picture(picture(0), tmp_path / "sub" / f"{name}.png")
    written = np.frombuffer((tmp_path / "sub" / f"{name}.png").read_bytes(), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(written, cv2.IMREAD_COLOR), picture(0))
    write_table(tmp_path / "t.csv", [ImageResult(0, name, {"psnr": 1.0})])
    assert "\n\\xd6\\xd0,1.000000\n" in (tmp_path / "t.csv").read_text(encoding="utf-8")
