"""BasicSR's image data sets, with one plain line that names the file where an image or a pair cannot be used."""

from contextlib import suppress
from pathlib import Path
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
            alone = None
            with suppress(OSError):  # a root that is not there is what `error` says
                alone = _partnerless(opt)
            message = alone or _one_line(error)
            raise InputError(f"data set {opt['name']}: LQ and GT do not pair up: {message}") from error
        if not self.paths:
            raise InputError(f"data set {opt['name']}: no image in {opt['dataroot_gt']}")
        # Folders are listed in any order: sorted, a seed means the same on every machine.
        self.paths.sort(key=lambda pair: pair["gt_path"])

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            item: dict[str, Any] = super().__getitem__(index)
        except Exception as error:
            if self.file_client is None:
                roots = f"{self.opt['dataroot_lq']} or {self.opt['dataroot_gt']}"
                raise InputError(
                    f"data set {self.opt['name']}: {roots} cannot be opened: {_one_line(error)}"
                ) from error
            # Reading both files again tells what is wrong with them.
            self._check_sizes(index, self._size(index, "lq"))
            raise
        if self.opt["phase"] != "train":
            # BasicSR cuts GT to LQ's size without a word; how large it was, only the file tells.
            self._check_sizes(index, tuple(item["lq"].shape[1:]))
        return item

    def _where(self, index: int, kind: str) -> str:
        """File, or LMDB and key, of one image of a pair."""
        path: str = self.paths[index][f"{kind}_path"]
        return f"{self.opt[f'dataroot_{kind}']}, entry {path}" if "db_paths" in self.io_backend_opt else path

    def _size(self, index: int, kind: str) -> tuple[int, ...]:
        """Height and width of one image of a pair, read again."""
        image = _decode(self.file_client, self.paths[index][f"{kind}_path"], kind)
        if image is None:
            where = self._where(index, kind)
            message = "no image that can be decoded; replace or remove it (and its pair)"
            raise InputError(f"data set {self.opt['name']}: {where}: {message}")
        return image.shape[:2]

    def _check_sizes(self, index: int, lq_size: tuple[int, ...]) -> None:
        """GT is LQ times the scale; in tests, up to `scale - 1` further rows and columns of GT are cut off."""
        (lq_h, lq_w), (gt_h, gt_w) = lq_size, self._size(index, "gt")
        scale, training = self.opt["scale"], self.opt["phase"] == "train"
        where = f"data set {self.opt['name']}: {self._where(index, 'gt')}"
        spare = (gt_h - lq_h * scale, gt_w - lq_w * scale)
        if min(spare) < 0 or max(spare) > (0 if training else scale - 1):
            wanted = f"{lq_h * scale}x{lq_w * scale}"
            raise InputError(f"{where}: GT is {gt_h}x{gt_w}, but LQ {lq_h}x{lq_w} times scale {scale} is {wanted}")
        if training and min(gt_h, gt_w) < self.opt["gt_size"]:
            size = self.opt["gt_size"]
            raise InputError(f"{where}: {gt_h}x{gt_w} is smaller than gt_size {size}; remove it or lower gt_size")


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


def _partnerless(opt: dict[str, Any]) -> str | None:
    """Name the first image of a paired set that stands alone, and how many others do."""
    lq_root, gt_root = (Path(opt[f"dataroot_{kind}"]).expanduser() for kind in ("lq", "gt"))
    if opt["io_backend"]["type"] == "lmdb":
        keys = [{line.split(".")[0] for line in (root / "meta_info.txt").open()} for root in (lq_root, gt_root)]
        alone = sorted(f"entry {key}" for key in keys[0] ^ keys[1])
    else:
        lq, gt = ({path.name for path in root.iterdir() if path.is_file()} for root in (lq_root, gt_root))
        template = opt.get("filename_tmpl", "{}")
        wanted = {f"{template.format(Path(name).stem)}{Path(name).suffix}": name for name in gt}
        alone = sorted([str(gt_root / wanted[name]) for name in wanted.keys() - lq])
        alone += sorted(str(lq_root / name) for name in lq - wanted.keys())
    others = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
    return f"{alone[0]} has no partner{others}; add it, or remove this one" if alone else None


def _decode(file_client: Any, path: str, kind: str) -> np.ndarray[Any, Any] | None:
    """The image as BasicSR decodes it, or None."""
    try:
        content = file_client.get(path, kind)
        image: np.ndarray[Any, Any] | None = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, TypeError, cv2.error):
        return None
    return image


def _one_line(error: Exception) -> str:
    return " ".join(map(str, error.args)).strip().splitlines()[0] if error.args else type(error).__name__
