"""LPIPS and DISTS, on random backbones where the trained ones are not at hand, and which metrics are better when lower.

With trained backbones they were not tried here: their weights have to be downloaded.
"""

import importlib
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from basicsr.models.base_model import BaseModel
from helpers import photograph, testing_options, training_options

from ramit_model.config.options import load_options
from ramit_model.inference import perceptual_metrics as module
from ramit_model.inference.evaluation import measure, needs_gt
from ramit_model.inference.perceptual_metrics import calculate_dists, calculate_lpips
from ramit_model.system.errors import InputError

Picture = np.ndarray

INSTALLED = importlib.util.find_spec("torchmetrics") is not None
needs_torchmetrics = pytest.mark.skipif(not INSTALLED, reason="torchmetrics is not installed: ramit-basicsr[metrics]")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Networks of the metrics are kept for as long as a command runs."""
    for cached in (module._lpips, module._dists):
        cached.cache_clear()
    yield
    for cached in (module._lpips, module._dists):
        cached.cache_clear()


@pytest.fixture
def random_backbones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backbones of random weights; the heads are those that torchmetrics brings along."""
    import torchvision

    torch.manual_seed(0)
    squeeze = torchvision.models.squeezenet1_1(weights=None).state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: squeeze)
    features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
    dists = importlib.import_module("torchmetrics.functional.image.dists")
    monkeypatch.setattr(dists, "vgg16", lambda weights: SimpleNamespace(features=features))


def measured(metric: str, first: Picture, second: Picture, border: int = 0) -> float:
    if metric == "lpips":
        return calculate_lpips(first, second, border, net="squeeze")
    return calculate_dists(first, second, border)


@needs_torchmetrics
@pytest.mark.usefixtures("random_backbones", "one_thread")
@pytest.mark.parametrize("metric", ["lpips", "dists"])
def test_distances(metric: str) -> None:
    first, second = photograph(64, 72, seed=0), photograph(64, 72, seed=1)
    assert measured(metric, first, first) == pytest.approx(0, abs=1e-5)
    assert measured(metric, first, second) > 1e-4
    assert measured(metric, first, second) == pytest.approx(measured(metric, second, first), rel=1e-4)
    assert measured(metric, first, second, 8) == pytest.approx(
        measured(metric, first[8:-8, 8:-8], second[8:-8, 8:-8]), rel=1e-5
    )
    gray = [picture[..., 0] for picture in (first, second)]
    assert measured(metric, *gray) == pytest.approx(
        measured(metric, *(np.repeat(picture[..., None], 3, axis=2) for picture in gray)), rel=1e-5
    )


@needs_torchmetrics
@pytest.mark.usefixtures("random_backbones", "one_thread")
def test_the_same_as_by_torchmetrics_on_rgb() -> None:
    functional = importlib.import_module("torchmetrics.functional.image")
    first, second = photograph(64, 72, seed=0), photograph(64, 72, seed=1)
    rgb = [torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)[None] / 255 for picture in (first, second)]
    lpips = functional.learned_perceptual_image_patch_similarity(*rgb, net_type="squeeze", normalize=True)
    assert measured("lpips", first, second) == pytest.approx(float(lpips), rel=1e-5)
    dists = importlib.import_module("torchmetrics.functional.image.dists").deep_image_structure_and_texture_similarity
    assert measured("dists", first, second) == pytest.approx(float(dists(*rgb)), rel=1e-4)


@needs_torchmetrics
@pytest.mark.usefixtures("random_backbones", "one_thread")
def test_in_options(pairs: Path, write_options: Callable[..., Path]) -> None:
    options = testing_options(pairs)
    options["val"]["metrics"] = {"lpips": {"type": "calculate_lpips", "net": "squeeze"}}
    generator = torch.get_rng_state()
    loaded = load_options(write_options(options), is_train=False)
    assert torch.equal(torch.get_rng_state(), generator)
    data = {name: torch.rand(1, 3, 64, 64) for name in ("lq", "gt")}
    assert needs_gt(loaded["val"]["metrics"]["lpips"])
    found = measure(lambda lq: lq, {**data, "gt_path": ["a.png"]}, loaded["val"]["metrics"])
    assert found.metrics["lpips"] > 0


@needs_torchmetrics
def test_weights_that_cannot_be_fetched(
    pairs: Path, write_options: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    options = testing_options(pairs)
    options["val"]["metrics"] = {"lpips": {"type": "calculate_lpips"}}
    path = write_options(options)
    with pytest.raises(InputError) as caught:
        load_options(path, is_train=False)
    line = str(caught.value)
    assert line.startswith(f"{path}: val.metrics.lpips: LPIPS needs alexnet-owt-7be5be79.pth of download.pytorch.org")
    assert line.endswith(f"put it into {torch.hub.get_dir()}/checkpoints")
    assert "no route to host" in line
    assert len(line.splitlines()) == 1


def test_without_torchmetrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    picture = photograph(64, 64)
    with pytest.raises(InputError, match=r"^LPIPS needs the package torchmetrics: pip install 'ramit-basicsr\[metrics"):
        calculate_lpips(picture, picture)
    with pytest.raises(InputError, match=r"^DISTS needs the package torchmetrics"):
        calculate_dists(picture, picture)


def test_another_net() -> None:
    with pytest.raises(ValueError, match="must be alex, vgg, squeeze, not 'resnet'"):
        calculate_lpips(photograph(64, 64), photograph(64, 64), net="resnet")


def test_the_best_niqe_of_a_training_is_the_lowest(pairs: Path, write_options: Callable[..., Path]) -> None:
    options = training_options(pairs)
    options["val"]["metrics"]["niqe"] = {"type": "calculate_niqe", "crop_border": 0}
    # The images of the test are too small for NIQE, which needs no GT.
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("ramit_model.config.checks.try_metrics", lambda *_: None)
        loaded = load_options(write_options(options), is_train=True)
    model = SimpleNamespace(opt=loaded)
    BaseModel._initialize_best_metric_results(model, "set")
    for iteration, niqe in enumerate((3.5, 3.0, 3.2), 1):
        for metric, value in (("niqe", niqe), ("psnr", niqe)):
            BaseModel._update_best_metric_result(model, "set", metric, value, iteration)
    best = model.best_metric_results["set"]
    assert (best["niqe"]["val"], best["niqe"]["iter"]) == (3.0, 2)
    assert (best["psnr"]["val"], best["psnr"]["iter"]) == (3.5, 1)


def test_a_distance_is_never_better_when_higher(pairs: Path, write_options: Callable[..., Path]) -> None:
    options = testing_options(pairs)
    options["val"]["metrics"]["lpips"] = {"type": "calculate_lpips", "better": "higher"}
    with pytest.raises(InputError, match=r"lpips\.better: calculate_lpips is better when lower"):
        load_options(write_options(options), is_train=False)
