"""BasicSR's image data sets, with one plain line that names the file where an image or a pair cannot be used."""

from typing import Any

import ramit_arch  # noqa: F401  mends BasicSR for the imports below

import cv2
import numpy as np
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.single_image_dataset import SingleImageDataset
from basicsr.utils.registry import DATASET_REGISTRY

from ramit_model.errors import InputError


@DATASET_REGISTRY.register()
class PairedRestorationDataset(PairedImageDataset):
    """BasicSR's `PairedImageDataset`, same options, same items.

    Raises:
        InputError: LQ and GT do not pair up, there is no image, an image cannot be decoded, sizes do not match the
            scale, or an image is smaller than the patch. The line names the data set and the file.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        try:
            super().__init__(opt)
        except (AssertionError, ValueError, OSError) as error:
            raise InputError(f"data set {opt['name']}: LQ and GT do not pair up: {_one_line(error)}") from error
        if not self.paths:
            raise InputError(f"data set {opt['name']}: no image in {opt['dataroot_gt']}")
        # Folders are listed in any order: sorted, a seed means the same on every machine.
        self.paths.sort(key=lambda pair: pair["gt_path"])

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            item: dict[str, Any] = super().__getitem__(index)
        except Exception as error:
            raise InputError(self._diagnose(index, error)) from error
        if self.opt["phase"] != "train" and item["gt"].shape[1:] != _scaled(item["lq"].shape[1:], self.opt["scale"]):
            raise InputError(self._diagnose(index, None))
        return item

    def _diagnose(self, index: int, error: Exception | None) -> str:
        """Say what is wrong with pair `index`. Reads both files again, so only after a failure."""
        name, scale = f"data set {self.opt['name']}", self.opt["scale"]
        shapes = []
        for kind in ("lq", "gt"):
            path = self.paths[index][f"{kind}_path"]
            where = f"{self.opt[f'dataroot_{kind}']}, entry {path}" if self.io_backend_opt.get("db_paths") else path
            image = _decode(self.file_client, path, kind)
            if image is None:
                return f"{name}: {where}: no image that can be decoded; replace or remove it (and its pair)"
            shapes.append(image.shape[:2])
        (lq_h, lq_w), (gt_h, gt_w) = shapes
        if (gt_h, gt_w) != (lq_h * scale, lq_w * scale):
            wanted = f"{lq_h * scale}x{lq_w * scale}"
            return f"{name}: {where}: GT is {gt_h}x{gt_w}, but LQ {lq_h}x{lq_w} times scale {scale} is {wanted}"
        if self.opt["phase"] == "train" and min(gt_h, gt_w) < self.opt["gt_size"]:
            size = self.opt["gt_size"]
            return f"{name}: {where}: {gt_h}x{gt_w} is smaller than gt_size {size}; remove it or lower gt_size"
        return f"{name}: {where}: {_one_line(error)}"


@DATASET_REGISTRY.register()
class SingleRestorationDataset(SingleImageDataset):
    """BasicSR's `SingleImageDataset` (LQ images without GT), same options, same items.

    Raises:
        InputError: There is no image, or one cannot be decoded. The line names the data set and the file.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        try:
            super().__init__(opt)
        except (ValueError, OSError) as error:
            raise InputError(f"data set {opt['name']}: {_one_line(error)}") from error
        if not self.paths:
            raise InputError(f"data set {opt['name']}: no image in {opt['dataroot_lq']}")

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            item: dict[str, Any] = super().__getitem__(index)
        except Exception as error:
            raise InputError(
                f"data set {self.opt['name']}: {self.paths[index]}: no image that can be decoded ({_one_line(error)})"
            ) from error
        return item


def _scaled(size: tuple[int, ...], scale: int) -> tuple[int, ...]:
    return tuple(side * scale for side in size)


def _decode(file_client: Any, path: str, kind: str) -> np.ndarray[Any, Any] | None:
    """The image as BasicSR decodes it, or None."""
    try:
        content = file_client.get(path, kind)
        image: np.ndarray[Any, Any] | None = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, TypeError, cv2.error):
        return None
    return image


def _one_line(error: Exception | None) -> str:
    return " ".join(map(str, error.args)).strip().splitlines()[0] if error and error.args else type(error).__name__
