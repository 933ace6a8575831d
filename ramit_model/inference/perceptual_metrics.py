"""LPIPS and DISTS by torchmetrics, entered into BasicSR's METRIC_REGISTRY; which metrics are better when lower."""

import functools
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ramit_model.basicsr_bridge import METRIC_REGISTRY
from ramit_model.system.errors import InputError, one_line

LOWER_IS_BETTER = ("calculate_niqe", "calculate_lpips", "calculate_dists")
"""Metrics that measure a distance, or an error."""

BACKBONES = {"alex": "AlexNet_Weights", "vgg": "VGG16_Weights", "squeeze": "SqueezeNet1_1_Weights"}
"""Networks whose features are compared -> torchvision's name of their weights."""

Distance = Callable[[Tensor, Tensor], Tensor]
"""Two images (1, 3, H, W), RGB in 0..1 -> how far they are apart."""


def better_of(metric: Mapping[str, Any]) -> Literal["higher", "lower"]:
    """Whether higher or lower values of a metric, a block of `val.metrics`, are better.

    >>> better_of({"type": "calculate_psnr"}), better_of({"type": "calculate_lpips"}), better_of({"better": "lower"})
    ('higher', 'lower', 'lower')
    """
    known: Literal["higher", "lower"] = "lower" if metric.get("type") in LOWER_IS_BETTER else "higher"
    stated: Literal["higher", "lower"] = metric.get("better", known)
    return stated


@METRIC_REGISTRY.register()
def calculate_lpips(
    img: NDArray[np.uint8], img2: NDArray[np.uint8], crop_border: int = 0, net: str = "alex", better: str = "lower"
) -> float:
    """LPIPS, version 0.1: distance between features of a network, weighted as people judge; lower is better.

    Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018.

    Args:
        img: Result, (H, W, 3) BGR or (H, W), 8-bit.
        img2: Ground truth, likewise.
        crop_border: Pixels to leave out at each border.
        net: `alex`, as most papers report it, `vgg` or `squeeze`.
        better: Not used; what reads options looks at it.

    Raises:
        InputError: torchmetrics or the weights of `net` are missing.
        ValueError: `net` is none of these.
    """
    if net not in BACKBONES:
        raise ValueError(f"must be {', '.join(BACKBONES)}, not {net!r}")
    return float(_lpips(net)(_image(img, crop_border), _image(img2, crop_border)))


@METRIC_REGISTRY.register()
def calculate_dists(
    img: NDArray[np.uint8], img2: NDArray[np.uint8], crop_border: int = 0, better: str = "lower"
) -> float:
    """DISTS: similarity of means (texture) and of structure of VGG16's features, less from 1; lower is better.

    Ding et al., "Image Quality Assessment: Unifying Structure and Texture Similarity", TPAMI 2020.

    Args:
        img: Result, (H, W, 3) BGR or (H, W), 8-bit.
        img2: Ground truth, likewise.
        crop_border: Pixels to leave out at each border.
        better: Not used; what reads options looks at it.

    Raises:
        InputError: torchmetrics or the weights of VGG16 are missing.
    """
    return float(_dists()(_image(img, crop_border), _image(img2, crop_border)))


def _image(picture: NDArray[np.uint8], border: int) -> Tensor:
    """Picture as an image (1, 3, H, W), RGB in 0..1, without its border."""
    height, width = picture.shape[:2]
    cropped = picture[border : height - border, border : width - border]
    color = np.repeat(cropped[..., None], 3, axis=2) if cropped.ndim == 2 else cropped[..., ::-1]
    return torch.from_numpy(np.ascontiguousarray(color)).permute(2, 0, 1)[None].float() / 255


@functools.cache
def _lpips(net: str) -> Distance:
    module = _torchmetrics("torchmetrics.image.lpip", "LPIPS")
    kind = module.LearnedPerceptualImagePatchSimilarity
    distance = _loaded(functools.partial(kind, net_type=net), "LPIPS", net).net

    def compute(img: Tensor, img2: Tensor) -> Tensor:
        with torch.inference_mode():
            result: Tensor = distance(img, img2, normalize=True)
            return result

    return compute


@functools.cache
def _dists() -> Distance:
    module = _torchmetrics("torchmetrics.functional.image.dists", "DISTS")
    distance: Distance = _loaded(module.DISTSNetwork, "DISTS", "vgg")
    return distance


def _torchmetrics(name: str, metric: str) -> Any:
    if importlib.util.find_spec("torchmetrics") is None:
        raise InputError(f"{metric} needs the package torchmetrics: pip install 'ramit-basicsr[metrics]'")
    return importlib.import_module(name)


def _loaded(build: Callable[[], Any], metric: str, net: str) -> Any:
    """Build the network of a metric; the random weights that it begins with come from no generator of a training.

    Raises:
        InputError: The weights of its backbone cannot be had.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            return build().eval()
    except Exception as error:  # no network, no space, a damaged file: nearly anything
        import torchvision

        file = getattr(torchvision.models, BACKBONES[net]).DEFAULT.url.rpartition("/")[2]
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise InputError(
            f"{metric} needs {file} of download.pytorch.org/models, which cannot be fetched or read "
            f"({one_line(error)}); connect to the network, or put it into {folder}"
        ) from None
