"""PSNR and SSIM of networks on image sets, image by image, computed as in a test."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from datasets_prep.image_files import Treatment, decode
from datasets_prep.image_formats import ImageError
from ramit_model.benchmark.measure.fingerprints import network_fingerprint
from ramit_model.benchmark.measure.image_sets import EvalImage, ImageSet
from ramit_model.benchmark.measure.isolation import KilledError, isolated
from ramit_model.benchmark.measure.measurements import Measurements, key_of
from ramit_model.benchmark.measure.restoring import Task, restore_images
from ramit_model.benchmark.networks import Network
from ramit_model.benchmark.plan import Plan, StripPlan, reference_name
from ramit_model.config.option_file import Options
from ramit_model.system.occasional import bar_options


class PlannedStrip(NamedTuple):
    """A comparison strip to draw, with the image that it shows."""

    image_set: ImageSet
    image: EvalImage
    plan: StripPlan


class Quality:
    """Measures the quality of networks, and looks up what was measured.

    Args:
        plan: Networks, metrics and strips.
        image_sets: Result of `read_sets`.
        store: Measurements made so far.
        environment: Machine and versions.
        folder: Folder for restored pictures.
    """

    def __init__(
        self,
        plan: Plan,
        image_sets: Sequence[ImageSet],
        store: Measurements,
        environment: dict[str, Any],
        folder: Path,
    ) -> None:
        self.plan, self.image_sets = plan, image_sets
        self.store, self.environment, self.folder = store, environment, folder
        self.networks: list[Network | None] = [None, *(network for network in plan.networks if network.weights)]
        self.drawn = {(strip.image_set.name, strip.image.name) for strip in self.strips()}

    def strips(self) -> Iterator[PlannedStrip]:
        """Strips to draw; those of images that are not measured are left out."""
        for strip in self.plan.strips:
            for image_set in self.image_sets:
                images = image_set.images if image_set.name == strip.dataset else ()
                for image in images[:1] if strip.image is None else images:
                    if strip.image in (None, image.name):
                        yield PlannedStrip(image_set, image, strip)

    def not_drawn(self) -> list[str]:
        """Messages about the strips whose image is not measured, one line each."""
        drawn = [strip.plan for strip in self.strips()]
        return [
            f"strips: {strip.dataset} {strip.image or ''}: not among the images that are measured, so not drawn"
            for strip in self.plan.strips
            if strip not in drawn
        ]

    def measure(self) -> None:
        """Measure what is missing, image by image; each value is stored as it comes.

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
        with tqdm(total=total, unit="image", **bar_options()) as bar:
            for image_set, network, images in tasks:
                bar.set_description(f"{image_set.name}, {self.name_of(network)}")
                self._measure(image_set, network, images, bar)

    def name_of(self, network: Network | None) -> str:
        """Name in the results: of the network or, for None, of the baseline without a network."""
        return network.name if network else reference_name(self.plan.scale)

    def value(self, image_set: ImageSet, network: Network | None, image: EvalImage) -> dict[str, Any]:
        """Stored value: `metrics` (by name) and `tiled`, or `out_of_memory`; empty if not measured."""
        value: dict[str, Any] = self.store.get(self._key(image_set, network, image)) or {}
        return value

    def picture(self, image_set: ImageSet, network: Network | None, image: EvalImage) -> Path:
        """Path of the restored picture; the file exists only if a strip shows it."""
        return self.folder / f"{self._key(image_set, network, image)}.png"

    def _key(self, image_set: ImageSet, network: Network | None, image: EvalImage) -> str:
        return key_of(
            kind="quality",
            network=network_fingerprint(network, trained=True) if network else reference_name(self.plan.scale),
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
        return drawn and not _is_whole(self.picture(image_set, network, image))

    def _measure(self, image_set: ImageSet, network: Network | None, images: list[EvalImage], bar: Any) -> None:
        """Restore and measure images; a process that is killed costs one image."""
        task = self._task(image_set, network, images)
        waiting = {image.index: image for image in images}
        while waiting:
            task.images = {index: path for index, path in task.images.items() if index in waiting}
            started = next(iter(waiting))
            try:
                for index, value in isolated(restore_images, task):
                    started = index
                    if value is not None:
                        self._keep(image_set, network, waiting.pop(index), value)
                        bar.update()
                        started = next(iter(waiting), index)  # the process reads it before it reports its start
            except KilledError:
                if started not in waiting:
                    break
                if task.tile and started not in task.tiled:
                    task.tiled.add(started)
                else:
                    self._keep(image_set, network, waiting.pop(started), {"out_of_memory": True})
                    bar.update()

    def _keep(self, image_set: ImageSet, network: Network | None, image: EvalImage, value: dict[str, Any]) -> None:
        if value == self.value(image_set, network, image):
            return  # restored again for its picture alone
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
                    "pretrain_network_g": None if network.is_foreign else str(Path(network.weights or "").expanduser()),
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


def _is_whole(picture: Path) -> bool:
    """Whether a picture is there and undamaged."""
    try:
        decode(picture.read_bytes(), Treatment())
    except (FileNotFoundError, ImageError):
        return False
    return True
