"""Restores the images of a data set one by one and measures each, for validation, test and benchmark alike."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from datasets_prep.image_files import encode_png
from ramit_model.basicsr_bridge import METRIC_REGISTRY, calculate_metric, tensor2img
from ramit_model.data.listing import result_names
from ramit_model.system.errors import InputError, one_line
from ramit_model.system.files import write_atomically, write_csv_atomically
from ramit_model.system.occasional import bar_options
from ramit_model.system.text import escaped, printable

T = TypeVar("T")
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class ImageResult:
    """Metrics of one image of a data set, by name.

    Attributes:
        index: Position in the set, from 0.
        name: Name of the image and its files.
        metrics: Metric -> value; without GT, only of those that need none.
        problem: Line that says why the image could not be restored, or None.
    """

    index: int
    name: str
    metrics: dict[str, float]
    problem: str | None = None


@dataclass(frozen=True)
class Pictures:
    """LQ image, result and, if known, GT: 8-bit, (H, W, 3) BGR or (H, W)."""

    lq: Picture
    result: Picture
    gt: Picture | None


class Measured(NamedTuple):
    """Metrics (by name) and pictures of a restored image."""

    metrics: dict[str, float]
    pictures: Pictures


def evaluate(
    restore: Callable[[Tensor], Tensor],
    loader: DataLoader[Any],
    metrics: dict[str, dict[str, Any]],
    *,
    progress_bar: bool = True,
) -> Iterator[tuple[ImageResult, Pictures | None]]:
    """Restore and measure the images of a set; several processes share them out.

    Args:
        restore: Maps LQ (1, C, H, W) to the result (1, C, H * scale, W * scale), range 0..1, not clamped.
        loader: One image a batch.
        metrics: `val.metrics` of the options; those that compare with GT are left out without it.
        progress_bar: Whether to show one, or lines now and then where there is no terminal.

    Yields:
        One image after the other. In a set without GT, such as a folder of photos, one that cannot be restored has no
        pictures.

    Raises:
        InputError: An image of another set cannot be restored.
    """
    dataset: Any = loader.dataset
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    indices = range(rank, len(dataset), world)
    if world > 1:
        loader = DataLoader(Subset(dataset, indices))
    names = image_names(dataset)
    bar = tqdm(loader, desc=dataset.opt["name"], unit="image", **bar_options(hidden=rank != 0 or not progress_bar))
    for index, data in zip(indices, bar, strict=True):
        try:
            if "problem" in data:
                raise InputError(data["problem"][0])
            measured = measure(restore, data, metrics)
        except InputError as error:
            paths = [printable(data[key][0]) for key in ("lq_path", "gt_path") if key in data]
            is_named = any(path in error.line for path in paths)
            problem = error.line if is_named else f"data set {dataset.opt['name']}: {paths[0]}: {error.line}"
            if "gt" in data:
                raise type(error)(problem) from None
            yield ImageResult(index, names[index], {}, problem), None
            continue
        yield ImageResult(index, names[index], measured.metrics), measured.pictures


def image_names(dataset: Any) -> list[str]:
    """Names of the images of a data set and of their results, each another one.

    Args:
        dataset: Data set of ours, with `names`; of BasicSR's, with `paths`; or another, of which only the items tell.

    Raises:
        InputError: Two images would have one result.
    """
    if hasattr(dataset, "names"):
        return list(dataset.names)
    items = getattr(dataset, "paths", None) or (dataset[index] for index in range(len(dataset)))
    paths = [str(item.get("gt_path", item.get("lq_path")) if isinstance(item, dict) else item) for item in items]
    return result_names([Path(path).name for path in paths], f"data set {dataset.opt['name']}")


def measure(restore: Callable[[Tensor], Tensor], data: dict[str, Any], metrics: dict[str, dict[str, Any]]) -> Measured:
    """Restore one image and measure the result.

    Args:
        restore: Restoration as in `evaluate`.
        data: A batch of one image.
        metrics: Blocks as in `evaluate`.

    Raises:
        InputError: A metric fails, as NIQE does on small images.
    """
    result: Picture = tensor2img([restore(data["lq"])])
    gt: Picture | None = tensor2img([data["gt"]]) if "gt" in data else None
    images = {"img": result} if gt is None else {"img": result, "img2": gt}
    measured = {}
    for name, block in metrics.items():
        if gt is None and needs_gt(block):
            continue
        try:
            measured[name] = float(calculate_metric(images if needs_gt(block) else {"img": result}, dict(block)))
        except (RuntimeError, ValueError, IndexError, cv2.error) as error:
            height, width = result.shape[:2]
            path = printable(data.get("gt_path", data["lq_path"])[0])
            raise InputError(
                f"{path}: {name} cannot be measured on {width}x{height} pixels ({one_line(error)}); leave it out"
            ) from error
    return Measured(measured, Pictures(tensor2img([data["lq"]]), result, gt))


def needs_gt(metric: dict[str, Any]) -> bool:
    """Whether a metric, a block of `val.metrics`, compares with GT; NIQE does not."""
    return "img2" in inspect.signature(METRIC_REGISTRY.get(metric["type"])).parameters


def gather(items: list[T]) -> list[T]:
    """Items of all processes, by rank; those of a single process as they are."""
    if not dist.is_initialized():
        return items
    shares: list[list[T]] = [[]] * dist.get_world_size()
    dist.all_gather_object(shares, items)
    return [item for share in shares for item in share]


def averages(results: list[ImageResult]) -> dict[str, float]:
    """Average of each metric over the images, by name."""
    names = results[0].metrics
    return {name: float(np.mean([result.metrics[name] for result in results])) for name in names}


def write_table(path: Path, results: list[ImageResult]) -> str:
    """Write the metrics of each image and their averages as CSV.

    Returns:
        The same table as text, one line per image.
    """
    rows = [["image", *results[0].metrics]]
    rows += [[escaped(result.name), *(f"{value:.6f}" for value in result.metrics.values())] for result in results]
    rows.append(["average", *(f"{value:.6f}" for value in averages(results).values())])
    write_csv_atomically(rows, path)
    return "\n".join(f"\t{'  '.join(cells)}" for cells in rows)


def save_picture(picture: Picture, path: Path) -> None:
    """Write a PNG, whole or not at all; its folder is made if needed.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(encode_png(picture, 1), path)


def side_by_side(pictures: Pictures) -> Picture:
    """LQ (enlarged to the size of the result by nearest neighbour), result and GT in a row, (H, 3 W, 3) RGB."""
    height, width = pictures.result.shape[:2]
    given = [picture for picture in (pictures.lq, pictures.result, pictures.gt) if picture is not None]
    row = [cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST) for picture in given]
    colored = [cv2.cvtColor(p, cv2.COLOR_GRAY2RGB if p.ndim == 2 else cv2.COLOR_BGR2RGB) for p in row]
    return np.concatenate(colored, axis=1)
