"""Restores the images of a data set one by one and measures each: the common ground of validation and test."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ramit_arch  # noqa: F401  mends BasicSR for the imports below

import cv2
import numpy as np
import torch.distributed as dist
from basicsr.metrics import calculate_metric
from basicsr.utils import imwrite, tensor2img
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class ImageResult:
    """What was measured on one image; no metrics without GT."""

    index: int
    name: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Pictures:
    """What an image was restored from and to, 8-bit, (H, W, 3) BGR or (H, W)."""

    lq: Picture
    result: Picture
    gt: Picture | None


def evaluate(
    restore: Callable[[Tensor], Tensor],
    loader: DataLoader[Any],
    metrics: dict[str, dict[str, Any]],
    *,
    progress_bar: bool = True,
) -> Iterator[tuple[ImageResult, Pictures]]:
    """Restore and measure the images of a set; of several processes, each takes its share of them.

    Args:
        restore: Maps LQ (1, C, H, W) to the result (1, C, H * scale, W * scale), range 0..1, not clamped.
        loader: One image a batch.
        metrics: `val.metrics` of the options; they need GT.
        progress_bar: Whether to show one, on terminals.

    Yields:
        One image after the other.
    """
    dataset: Any = loader.dataset
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    indices = range(rank, len(dataset), world)
    if world > 1:
        loader = DataLoader(Subset(dataset, indices))
    hidden = None if progress_bar and rank == 0 else True  # None: hidden where there is no terminal
    bar = tqdm(loader, desc=dataset.opt["name"], unit="image", disable=hidden)
    for index, data in zip(indices, bar, strict=True):
        name, measured, pictures = measure(restore, data, metrics)
        yield ImageResult(index, name, measured), pictures


def measure(
    restore: Callable[[Tensor], Tensor], data: dict[str, Any], metrics: dict[str, dict[str, Any]]
) -> tuple[str, dict[str, float], Pictures]:
    """Restore one image and measure the result.

    Args:
        restore: As in `evaluate`.
        data: A batch of one image.
        metrics: As in `evaluate`.

    Returns:
        Its name, metric -> value (none without GT), the pictures.
    """
    result: Picture = tensor2img([restore(data["lq"])])
    gt: Picture | None = tensor2img([data["gt"]]) if "gt" in data else None
    measured = {}
    if gt is not None:
        images = {"img": result, "img2": gt}
        measured = {name: float(calculate_metric(images, dict(block))) for name, block in metrics.items()}
    name = Path(data.get("gt_path", data["lq_path"])[0]).stem
    return name, measured, Pictures(tensor2img([data["lq"]]), result, gt)


def averages(results: list[ImageResult]) -> dict[str, float]:
    """The average of each metric, by name."""
    names = results[0].metrics
    return {name: float(np.mean([result.metrics[name] for result in results])) for name in names}


def write_table(path: Path, results: list[ImageResult]) -> str:
    """Write the metrics of each image and their averages as CSV.

    Returns:
        The same as text, a line an image.
    """
    rows = [["image", *results[0].metrics]]
    rows += [[result.name, *(f"{value:.6f}" for value in result.metrics.values())] for result in results]
    rows.append(["average", *(f"{value:.6f}" for value in averages(results).values())])
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return "\n".join(f"\t{'  '.join(cells)}" for cells in rows)


def save_picture(picture: Picture, path: Path) -> None:
    """Write a PNG, and its folder."""
    imwrite(picture, str(path))


def side_by_side(pictures: Pictures) -> Picture:
    """LQ (enlarged to the size of the result, pixels kept), result and GT in a row, (H, 3 W, 3) RGB."""
    height, width = pictures.result.shape[:2]
    given = [picture for picture in (pictures.lq, pictures.result, pictures.gt) if picture is not None]
    row = [cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST) for picture in given]
    colour = [cv2.cvtColor(p, cv2.COLOR_GRAY2RGB if p.ndim == 2 else cv2.COLOR_BGR2RGB) for p in row]
    return np.concatenate(colour, axis=1)
