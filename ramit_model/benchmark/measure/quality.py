"""PSNR and SSIM of networks on test sets, image by image, by the tester's own means."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ramit_arch  # noqa: F401  mends BasicSR for the imports below

import torch
from basicsr.data import build_dataset
from basicsr.utils import tensor2img
from basicsr.utils.matlab_functions import imresize
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from datasets_prep.image_files import encode_png
from ramit_model.benchmark.measure.fingerprints import network_fingerprint
from ramit_model.benchmark.measure.isolation import KilledError, isolated, prepare_process
from ramit_model.benchmark.measure.measurements import Measurements, key_of
from ramit_model.benchmark.plan import BICUBIC, INPUT, Network, Plan, StripPlan
from ramit_model.config.option_file import Options
from ramit_model.inference.evaluation import Picture, measure
from ramit_model.inference.tiling import run_tiled
from ramit_model.system.errors import InputError
from ramit_model.system.files import write_atomically
from ramit_model.system.memory import is_out_of_memory


def reference(scale: int) -> str:
    """What stands for no network at this scale."""
    return BICUBIC if scale > 1 else INPUT


@dataclass(frozen=True)
class EvalImage:
    """An image of a test set.

    Attributes:
        index: In the set.
        name: Of its GT file, without extension.
        digest: Of its LQ and GT pixels, noise included.
    """

    index: int
    name: str
    digest: str


@dataclass(frozen=True)
class ImageSet:
    """A test set: its option block, the images to measure, and how many it has in all."""

    block: Options
    images: Sequence[EvalImage]
    image_count: int

    @property
    def name(self) -> str:
        """What the option file calls it."""
        return str(self.block["name"])


@dataclass
class Task:
    """What a process of its own shall restore and measure.

    Attributes:
        network: None: the reference.
        options: The test's options, with `network_g` and `path` where there is a network.
        block: Option block of the test set.
        metrics: Metric -> block.
        scale: Output size over input size.
        tile: Side of tiles for images that do not fit into memory, LQ pixels; None: no tiles.
        images: Index in the set -> where to save the picture, or None.
        tiled: Indices of images to restore in tiles from the start.
    """

    network: str | None
    options: Options
    block: Options
    metrics: dict[str, Options]
    scale: int
    tile: int | None
    images: dict[int, str | None]
    tiled: set[int] = field(default_factory=set)


def read_sets(plan: Plan) -> list[ImageSet]:
    """Read every image of every test set once, so that a bad one is found before hours of work.

    Raises:
        InputError: An image cannot be used.
    """
    return [_read_set(block, plan.limit) for block in plan.datasets]


def _read_set(block: Options, limit: int | None) -> ImageSet:
    dataset = build_dataset(deepcopy(block))
    count = len(dataset) if limit is None else min(limit, len(dataset))
    images = []
    for index, data in enumerate(tqdm(_batches(dataset, range(count)), desc=f"read {block['name']}", disable=None)):
        digest = hashlib.sha256(data["lq"].numpy().tobytes() + data["gt"].numpy().tobytes()).hexdigest()
        images.append(EvalImage(index, Path(data["gt_path"][0]).stem, digest))
    names = [image.name for image in images]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"data set {block['name']}: two images are called {name}; rename one")
    return ImageSet(block, images, len(dataset))


def _batches(dataset: Any, indices: Sequence[int]) -> DataLoader[Any]:
    return DataLoader(Subset(dataset, indices))


def read_gt(image_set: ImageSet, image: EvalImage) -> Picture:
    """The ground truth of an image, as the metrics see it."""
    data = next(iter(_batches(build_dataset(deepcopy(image_set.block)), [image.index])))
    picture: Picture = tensor2img([data["gt"]])
    return picture


class Quality:
    """What is measured of the quality of networks, and what is still to be.

    Args:
        plan: What to measure.
        image_sets: From `read_sets`.
        store: What is measured already.
        environment: Machine and versions.
        folder: Where pictures are kept.
    """

    def __init__(
        self,
        plan: Plan,
        image_sets: Sequence[ImageSet],
        store: Measurements,
        environment: dict[str, Any],
        folder: Path,
    ) -> None:
        self.plan, self.image_sets, self.store, self.environment, self.folder = (
            plan, image_sets, store, environment, folder,
        )  # fmt: skip
        self.networks: list[Network | None] = [None, *(network for network in plan.networks if network.weights)]
        self.drawn = {(image_set.name, image.name) for image_set, image, _ in self.strips()}

    def strips(self) -> Iterator[tuple[ImageSet, EvalImage, StripPlan]]:
        """The pictures to draw, with test set and image; those of images that are not measured are left out."""
        for strip in self.plan.strips:
            for image_set in self.image_sets:
                images = image_set.images if image_set.name == strip.dataset else ()
                for image in images[:1] if strip.image is None else images:
                    if strip.image in (None, image.name):
                        yield image_set, image, strip

    def not_drawn(self) -> list[str]:
        """A line for each picture whose image is not measured."""
        drawn = [strip for _, _, strip in self.strips()]
        return [
            f"strips: {strip.dataset} {strip.image or ''}: not among the images that are measured, so not drawn"
            for strip in self.plan.strips
            if strip not in drawn
        ]

    def measure(self) -> None:
        """Measure what is missing, image by image; each is kept as it comes.

        Raises:
            InputError: Weights do not fit.
        """
        tasks = [
            (image_set, network, missing)
            for image_set in self.image_sets
            for network in self.networks
            if (missing := [image for image in image_set.images if self._is_missing(image_set, network, image)])
        ]
        total = sum(len(images) for _, _, images in tasks)
        if not total:
            return
        with tqdm(total=total, unit="image", disable=None) as bar:
            for image_set, network, images in tasks:
                bar.set_description(f"{image_set.name}, {self.name_of(network)}")
                self._measure(image_set, network, images, bar)

    def name_of(self, network: Network | None) -> str:
        """What results call a network, or the reference."""
        return network.name if network else reference(self.plan.scale)

    def value(self, image_set: ImageSet, network: Network | None, image: EvalImage) -> dict[str, Any]:
        """What was measured: `metrics` (by name) and `tiled`, or `out_of_memory`."""
        value: dict[str, Any] = self.store.get(self._key(image_set, network, image)) or {}
        return value

    def picture(self, image_set: ImageSet, network: Network | None, image: EvalImage) -> Path:
        """Where the restored picture is, if it is one that is drawn."""
        return self.folder / f"{self._key(image_set, network, image)}.png"

    def _key(self, image_set: ImageSet, network: Network | None, image: EvalImage) -> str:
        return key_of(
            kind="quality",
            network=network_fingerprint(network, trained=True) if network else reference(self.plan.scale),
            image=image.digest,
            metrics=self.plan.metrics,
            scale=self.plan.scale,
            tile=self.plan.tile,
            num_gpu=self.plan.num_gpu,
            environment=self.environment,
        )

    def _is_missing(self, image_set: ImageSet, network: Network | None, image: EvalImage) -> bool:
        value = self.value(image_set, network, image)
        if not value or "out_of_memory" in value:
            return not value
        drawn = (image_set.name, image.name) in self.drawn
        return drawn and not self.picture(image_set, network, image).is_file()

    def _measure(self, image_set: ImageSet, network: Network | None, images: list[EvalImage], bar: Any) -> None:
        """Restore and measure images; a process that is killed costs one image."""
        task = self._task(image_set, network, images)
        waiting = {image.index: image for image in images}
        while waiting:
            task.images = {index: path for index, path in task.images.items() if index in waiting}
            started = next(iter(waiting))
            try:
                for event, index, value in isolated(restore_images, task):
                    started = index
                    if event == "measured":
                        self._keep(image_set, network, waiting.pop(index), value)
                        bar.update()
                        started = next(iter(waiting), index)  # it is read before it says so
            except KilledError:
                if started not in waiting:
                    break
                if task.tile and started not in task.tiled:
                    task.tiled.add(started)
                else:
                    self._keep(image_set, network, waiting.pop(started), {"out_of_memory": True})
                    bar.update()

    def _keep(self, image_set: ImageSet, network: Network | None, image: EvalImage, value: dict[str, Any]) -> None:
        about = {"kind": "quality", "network": self.name_of(network), "dataset": image_set.name, "image": image.name}
        self.store.add(self._key(image_set, network, image), value, **about)

    def _task(self, image_set: ImageSet, network: Network | None, images: list[EvalImage]) -> Task:
        plan = self.plan
        options: Options = {}
        if network:
            options = {
                "name": plan.name,
                "is_train": False,
                "dist": False,
                "num_gpu": plan.num_gpu,
                "scale": plan.scale,
                "network_g": network.network_g,
                "path": {
                    "pretrain_network_g": str(Path(network.weights or "").expanduser()),
                    "strict_load_g": True,
                    "param_key_g": network.param_key,
                },
            }
        pictures: dict[int, str | None] = {}
        for image in images:
            drawn = (image_set.name, image.name) in self.drawn
            pictures[image.index] = str(self.picture(image_set, network, image)) if drawn else None
        return Task(
            network=network.name if network else None,
            options=options,
            block=image_set.block,
            metrics=plan.metrics,
            scale=plan.scale,
            tile=plan.tile,
            images=pictures,
        )


# In a process of its own ----------------------------------------------------------------------------------------------


def restore_images(task: Task) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Restore and measure images of a test set.

    Yields:
        `started`, index, nothing; then `measured`, index, what `Quality.value` gives.
    """
    prepare_process()
    restore = _restoration(task)
    dataset = build_dataset(deepcopy(task.block))
    for index, data in zip(task.images, _batches(dataset, list(task.images)), strict=True):
        yield "started", index, {}
        yield "measured", index, _measured(task, index, data, restore)


def _restoration(task: Task) -> Callable[[Tensor], Tensor]:
    """What maps LQ (1, C, H, W) to the result."""
    if task.network is None:
        return partial(_enlarged, scale=task.scale)
    from ramit_model.training.restoration_model import RestorationModel

    restore: Callable[[Tensor], Tensor] = RestorationModel(deepcopy(task.options)).restore
    return restore


def _enlarged(lq: Tensor, scale: int) -> Tensor:
    return imresize(lq[0], scale)[None] if scale > 1 else lq


def _measured(task: Task, index: int, data: dict[str, Any], restore: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    ways = [restore] if index not in task.tiled else []
    if task.tile:
        ways.append(partial(run_tiled, restore, tile=task.tile, scale=task.scale))
    for way in ways:
        try:
            _, metrics, pictures = measure(way, data, task.metrics)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        path = task.images[index]
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(encode_png(pictures.result, 1), path)
        return {"metrics": metrics, "tiled": way is not restore}
    return {"out_of_memory": True}
