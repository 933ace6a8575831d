"""Trials: losses, optimizer and metrics are built and used once on small random tensors, before anything runs."""

import copy
import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ramit_model.config.dataset_schema import CLEAN, DATASETS
from ramit_model.config.option_file import Options
from ramit_model.config.validation import required_arguments
from ramit_model.system.errors import InputError, one_line
from ramit_model.training.criteria import loss_values, losses_of, total
from ramit_model.training.optimizers import known_optimizers, make_optimizer

SIDE = 192
"""Side in pixels of the images that metrics are tried on where the sizes of the real ones are not known."""

ENOUGH = 256
"""Side of a part of an image, besides its border, on which metrics are tried for the whole."""

VGG_WEIGHTS = "vgg19-dcbb9e9d.pth"
"""File of `experiments/pretrained_models` that BasicSR's perceptual loss takes instead of a download."""


def try_losses(options: Options, file: str) -> None:
    """Compute the losses of a training, and their gradient, for random images of the smallest patch.

    Raises:
        InputError: One cannot be built or computed, is not a finite number of at least 0, or all together have no
            gradient.
    """
    from ramit_model.basicsr_bridge import LOSS_REGISTRY

    train, side = options["train"], _smallest_patch(options)
    channels = _channels(options["datasets"].get("train", {}))
    losses = losses_of(train)
    gradients = []
    for loss in losses:
        kind = LOSS_REGISTRY.get(loss.block["type"])

        def compute(arguments: Options, kind: Any = kind) -> Tensor:
            return _gradient(kind(**arguments), channels, side)

        gradients.append(attempt(compute, loss.block, kind, f"{file}: {loss.key}"))
        if train.get("accumulate", 1) > 1 and not _is_average(kind, loss.block, channels, side):
            raise InputError(
                f"{file}: train.accumulate: {loss.key} of a batch is not the average over its images, so that parts of "
                "a batch have other gradients; write 1, or reduction: mean for that loss"
            )
    if not any(gradient.any() for gradient in gradients):
        key = losses[0].key if len(losses) == 1 else "train.losses"
        raise InputError(
            f"{file}: {key}: the losses have no gradient, so that nothing would be trained; raise a loss_weight"
        )


def _gradient(loss: Any, channels: int, side: int) -> Tensor:
    """Gradient of a loss between random images, computed as a training does.

    Raises:
        ValueError: The loss is no single finite number from 0 up.
    """
    output, target = _random_images(1, channels, side)
    output.requires_grad_()
    values = loss_values(loss, ("loss", "style"), output, target)
    for value in values.values():
        if not math.isfinite(value.item()) or value.item() < 0:
            raise ValueError(f"gives a loss of {value.item():g}; it must be a finite number from 0 up")
    total(values).backward()
    gradient = output.grad if output.grad is not None else torch.zeros_like(output)
    if not gradient.isfinite().all():
        raise ValueError("gives a gradient that is not finite")
    return gradient


def _is_average(kind: Any, block: Mapping[str, Any], channels: int, side: int) -> bool:
    """Whether the loss of two images is the average of the losses of each."""
    loss = kind(**{key: value for key, value in block.items() if key != "type"})
    images = _random_images(2, channels, side)

    def value(*pair: Tensor) -> Tensor:
        return total(loss_values(loss, ("loss", "style"), *pair))

    with torch.no_grad():
        parts = [value(*(image[i : i + 1] for image in images)) for i in range(2)]
        return torch.allclose(value(*images), torch.stack(parts).mean(), rtol=1e-3)


def _random_images(count: int, channels: int, side: int) -> list[Tensor]:
    """Two batches of images in 0..1, the same in each call."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(count, channels, side, side, generator=generator) for _ in range(2)]


def try_optimizer(block: Options, num_gpu: int | str, where: str) -> None:
    """Take a step of an optimizer with these arguments, on the kind of device that is trained on.

    Raises:
        InputError: An argument is of a wrong kind or out of range.
    """
    device = "cuda" if num_gpu != 0 and torch.cuda.is_available() else "cpu"

    def step(arguments: Options) -> None:
        parameters = [nn.Parameter(torch.ones(size, device=device)) for size in ((2,), (8, 8))]
        optimizer = make_optimizer({"type": block["type"], **arguments}, parameters)
        for parameter in parameters:
            parameter.grad = torch.linspace(-1, 1, parameter.numel(), device=device).view_as(parameter)
        optimizer.step()
        if not all(parameter.isfinite().all() for parameter in parameters):
            raise ValueError("leads to weights that are not finite")

    attempt(step, block, known_optimizers()[block["type"]], where)


def try_metrics(options: Options, file: str) -> None:
    """Measure random images as large as the smallest image of each validation or test set.

    Raises:
        InputError: A metric cannot be computed, or is not a number.
    """
    from ramit_model.basicsr_bridge import METRIC_REGISTRY

    metrics = (options.get("val") or {}).get("metrics") or {}
    if not metrics:
        return
    for smallest in _smallest_images(options):
        for name, block in metrics.items():
            function = METRIC_REGISTRY.get(block["type"])

            def measure(arguments: Options, function: Any = function, smallest: _Smallest = smallest) -> None:
                if math.isnan(float(function(**smallest.images(arguments.get("crop_border", 0)), **arguments))):
                    raise ValueError("the result is not a number, for too little is left of the image")

            ignored = {key: value for key, value in block.items() if key != "better"}
            attempt(measure, ignored, function, f"{file}: val.metrics.{name}", f" ({smallest})")


def attempt(
    function: Callable[[Options], Any], block: Mapping[str, Any], taken_by: Any, where: str, remark: str = ""
) -> Any:
    """Call a function with the arguments in an option block, without its type; name the option that makes it fail.

    Args:
        function: Takes the arguments.
        block: Option block.
        taken_by: Function or class that the arguments are for.
        where: File and key of the block.
        remark: Appended to the message.

    Returns:
        The result of `function`.

    Raises:
        InputError: The function fails. The option is the first without which it does not.
    """
    arguments = {key: value for key, value in block.items() if key != "type"}
    try:
        failure = _failure(function, arguments)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if not isinstance(failure, Exception):
        return failure
    if isinstance(failure, OSError):
        raise InputError(
            f"{where}: weights that it needs cannot be fetched or read ({one_line(failure)}); connect to the network, "
            f"or put {VGG_WEIGHTS} of download.pytorch.org/models into experiments/pretrained_models"
        ) from None
    blamed = _blamed(function, arguments, required_arguments(taken_by), failure)
    option = f"{where}.{blamed}: {arguments[blamed]!r}" if blamed else where
    raise InputError(f"{option}: {one_line(failure)}{remark}") from None


def _blamed(
    function: Callable[[Options], Any], arguments: Options, required: Collection[str], failure: Exception
) -> str | None:
    """Argument without which a call does not fail, or fails otherwise than it did; None if that is none by itself."""
    optional = [key for key in arguments if key not in required]
    for key in optional:
        if not isinstance(_failure(function, {k: v for k, v in arguments.items() if k != key}), Exception):
            return key
    tried = {key: value for key, value in arguments.items() if key in required}
    if str(_failure(function, tried)) != str(failure):
        for key in optional:  # several are wrong: the one that fails in this way
            tried[key] = arguments[key]
            if str(_failure(function, tried)) == str(failure):
                return key
    return next(iter(tried), None) if len(tried) == 1 and all(tried.values()) else None


def _failure(function: Callable[[Options], Any], arguments: Options) -> Any:
    """Result of a call, or the exception that it raises."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # what matters of them is an error here
            return function(copy.deepcopy(arguments))
    except InputError:
        raise
    except Exception as error:  # libraries raise nearly anything for arguments that they do not understand
        return error


def _smallest_patch(options: Options) -> int:
    """Side of the smallest GT patch of a training, pixels."""
    progressive, dataset = options["train"].get("progressive"), options["datasets"].get("train", {})
    if progressive:
        return int(min(progressive["patch_sizes"])) * int(options["scale"])
    return int(dataset.get("gt_size") or SIDE)


def _channels(dataset: Options) -> int:
    return 1 if dataset.get("color") else 3


@dataclass(frozen=True)
class _Smallest:
    """Smallest image of a set.

    Attributes:
        phase: Key of the set in `datasets`.
        name: Key or file of the image.
        size: Height and width, pixels.
        channels: 3, or 1 for gray.
    """

    phase: str
    name: str
    size: tuple[int, int]
    channels: int

    def __str__(self) -> str:
        height, width = self.size
        return f"{self.name} of datasets.{self.phase}, {width}x{height} pixels, is the smallest"

    def images(self, border: int) -> dict[str, Any]:
        """Two random images as metrics take them, 8-bit, (H, W, 3) or (H, W); of large ones a part will do."""
        rng = np.random.default_rng(0)
        shape = tuple(min(side, ENOUGH + 2 * border) for side in self.size)
        shape += (self.channels,) if self.channels > 1 else ()
        return {name: rng.integers(0, 256, shape, dtype=np.uint8) for name in ("img", "img2")}


def _smallest_images(options: Options) -> Iterator[_Smallest]:
    """The smallest image of each validation or test set with GT."""
    for phase, block in options["datasets"].items():
        if phase.partition("_")[0] == "train" or not isinstance(block, dict) or not block.get("dataroot_gt"):
            continue
        found = _smallest_image(block, options["scale"]) if block.get("type") in DATASETS else None
        name, size = found or ("an image", (SIDE, SIDE))
        yield _Smallest(phase, name, size, _channels(block))


def _smallest_image(block: Options, scale: int) -> tuple[str, tuple[int, int]] | None:
    """Name and size of the GT image with the shortest side, from headers; None if none tells its size."""
    from ramit_model.data.clean import CleanImageDataset
    from ramit_model.data.paired import PairedRestorationDataset

    if block["type"] not in (CLEAN, "PairedRestorationDataset", "PairedImageDataset"):
        return None
    kind = CleanImageDataset if block["type"] == CLEAN else PairedRestorationDataset
    dataset = kind({**copy.deepcopy(block), "phase": "val", "scale": scale})
    known = [(path, dataset.gt_sizes[path]) for path in dataset.gt_paths if path in dataset.gt_sizes]
    return min(known, key=lambda image: min(image[1]), default=None)
