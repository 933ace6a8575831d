"""The process that restores and measures the images of one set by one network."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datasets_prep.image_files import encode_png
from ramit_model.basicsr_bridge import build_dataset, imresize
from ramit_model.benchmark.measure.image_sets import single_images
from ramit_model.benchmark.measure.isolation import prepare_process
from ramit_model.config.option_file import Options
from ramit_model.inference.evaluation import measure
from ramit_model.inference.restoring import restore_pixels
from ramit_model.inference.tiling import Tiling
from ramit_model.system.files import write_atomically
from ramit_model.system.memory import is_out_of_memory

Restoration = Callable[[Tensor, Tiling], Tensor]
"""LQ (1, C, H, W), whole or in tiles -> result (1, C, H * scale, W * scale)."""

WHOLE = Tiling(None)


@dataclass
class Task:
    """Images to restore and measure in a process of their own.

    Attributes:
        network: Name; None: the baseline without a network.
        options: Options of a test, with `network_g` and `path` if there is a network.
        block: Option block of the image set.
        metrics: Metric -> block.
        scale: Output size over input size.
        tile: Side of the tiles for images that do not fit into memory, LQ pixels; None: no tiles.
        images: Index in the set -> path to save the picture to, or None.
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


def restore_images(task: Task) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Restore and measure the images of a task.

    Yields:
        For each image: its index with None when it is begun, then its index with the value that `Quality.value` gives.
    """
    prepare_process()
    restore = _restoration(task)
    dataset = build_dataset(deepcopy(task.block))
    for index, data in zip(task.images, single_images(dataset, list(task.images)), strict=True):
        yield index, None
        yield index, _measured(task, index, data, restore)


def _restoration(task: Task) -> Restoration:
    if task.network is None:
        enlarge = partial(_enlarge, scale=task.scale)
        return lambda lq, tiling: restore_pixels(enlarge, lq, unit=1, scale=task.scale, tiling=tiling)
    from ramit_model.training.restoration_model import RestorationModel

    restore: Restoration = RestorationModel(deepcopy(task.options)).restore
    return restore


def _enlarge(lq: Tensor, scale: int) -> Tensor:
    """Bicubic interpolation as MATLAB does it; the input itself at scale 1."""
    return imresize(lq[0], scale)[None] if scale > 1 else lq


def _with(restore: Restoration, tiling: Tiling) -> Callable[[Tensor], Tensor]:
    return lambda lq: restore(lq, tiling)


def _measured(task: Task, index: int, data: dict[str, Any], restore: Restoration) -> dict[str, Any]:
    """Measure an image restored as a whole or, if memory does not suffice, in tiles."""
    attempts = [WHOLE] if index not in task.tiled else []
    if task.tile:
        attempts.append(Tiling(task.tile))
    for tiling in attempts:
        try:
            measured = measure(_with(restore, tiling), data, task.metrics)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        path = task.images[index]
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(encode_png(measured.pictures.result, 1), path)
        return {"metrics": measured.metrics, "tiled": tiling is not WHOLE}
    return {"out_of_memory": True}
