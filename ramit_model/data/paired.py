"""Data sets of images on disk or in an LMDB; an error is one line that names the file."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import normalize

from datasets_prep.image_files import size_in_header
from ramit_model.basicsr_bridge import DATASET_REGISTRY, FileClient, PairedImageDataset, SingleImageDataset, bgr2ycbcr
from ramit_model.data.patches import Image, PatchRequest, as_request, random_patch
from ramit_model.system.errors import InputError, one_line


class ImageReader:
    """Reader of a data set's images, from disk or an LMDB as its option block says.

    Args:
        opt: Option block with `name`, `io_backend` and a `dataroot_KIND` for each kind.
        kinds: Kinds of images: lq, gt.
    """

    def __init__(self, opt: dict[str, Any], kinds: tuple[str, ...]) -> None:
        self.name, self.roots = opt["name"], {kind: opt[f"dataroot_{kind}"] for kind in kinds}
        self.backend = {key: opt["io_backend"][key] for key in opt["io_backend"] if key not in ("type", "client_keys")}
        self.type = opt["io_backend"]["type"]
        self.client: Any = None  # opened where it is used: LMDBs cannot travel to workers

    def where(self, path: str, kind: str) -> str:
        """Name of an image in messages: the data set, then its file, or LMDB and key."""
        place = f"{self.roots[kind]}, entry {path}" if self.type == "lmdb" else path
        return f"data set {self.name}: {place}"

    def read(self, path: str, kind: str) -> Image:
        """Read an image, (H, W, 3) BGR, 8-bit (decoded by OpenCV as BasicSR does).

        Raises:
            InputError: It cannot be decoded, or the LMDB cannot be opened.
        """
        try:
            content = self._client().get(path, kind)
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        except FileNotFoundError:
            raise InputError(f"{self.where(path, kind)}: no such file; correct the list") from None
        except (OSError, TypeError, ValueError, cv2.error):
            image = None
        if image is None:
            message = "cannot be decoded as an image; replace or remove it (and its pair)"
            raise InputError(f"{self.where(path, kind)}: {message}")
        return image

    def _client(self) -> Any:
        if self.client is None:
            lmdb = {"db_paths": list(self.roots.values()), "client_keys": list(self.roots)}
            options = {**self.backend, **(lmdb if self.type == "lmdb" else {})}
            try:
                self.client = FileClient(self.type, **options)
            except Exception as error:  # each backend has its own
                roots = " or ".join(map(str, self.roots.values()))
                raise InputError(f"data set {self.name}: {roots} cannot be opened: {one_line(error)}") from error
        return self.client

    def sizes(self, paths: list[str], kind: str) -> Iterator[tuple[int, int] | None]:
        """Height and width of each image without decoding any: from `meta_info.txt`, or from the files' headers.

        None stands for an image whose size only decoding tells.
        """
        if self.type == "lmdb":
            sizes = _recorded_sizes(Path(self.roots[kind]))
            yield from (sizes.get(path) for path in paths)
        else:
            yield from map(size_in_header, paths)


@DATASET_REGISTRY.register()
class PairedRestorationDataset(PairedImageDataset):
    """BasicSR's `PairedImageDataset`, same options, same items; training patches are read by `PatchRequest`.

    An item is a dict of lq (C, h, w) and gt (C, h * scale, w * scale), RGB in 0..1, lq_path and gt_path.

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
            message = alone or one_line(error)
            raise InputError(f"data set {opt['name']}: LQ and GT do not pair up: {message}") from error
        if not self.paths:
            raise InputError(f"data set {opt['name']}: no image in {opt['dataroot_gt']}")
        # Folders are listed in any order: sorted, a seed means the same on every machine.
        self.paths.sort(key=lambda pair: pair["gt_path"])
        self.reader = ImageReader(opt, ("lq", "gt"))

    def __getitem__(self, item: int | PatchRequest) -> dict[str, Any]:
        paths = self.paths[item.image if isinstance(item, PatchRequest) else item]
        lq, gt = (self.reader.read(paths[f"{kind}_path"], kind) for kind in ("lq", "gt"))
        self._check_sizes(paths, lq.shape[:2], gt.shape[:2])
        if self.opt["phase"] == "train":
            request = as_request(item, self.opt["gt_size"] // self.opt["scale"])
            rng = request.generator()
            hflip, rot = self.opt["use_hflip"], self.opt["use_rot"]
            check_patch(gt.shape[:2], request.patch_size * self.opt["scale"], self._where(paths))
            lq, gt = random_patch(lq, gt, request, rng, hflip=hflip, rot=rot)
        else:
            gt = gt[: lq.shape[0] * self.opt["scale"], : lq.shape[1] * self.opt["scale"]]
        return {"lq": self._tensor(lq), "gt": self._tensor(gt), **paths}

    @property
    def gt_paths(self) -> list[str]:
        """Key or file of each GT image."""
        return [pair["gt_path"] for pair in self.paths]

    def _tensor(self, image: Image) -> Tensor:
        if self.opt.get("color") == "y":
            y = bgr2ycbcr(image.astype(np.float32) / 255, y_only=True)
            tensor = torch.from_numpy(np.ascontiguousarray(y))[None]
        else:
            tensor = to_tensor(image)
        if self.mean is not None or self.std is not None:
            normalize(tensor, self.mean, self.std, inplace=True)
        return tensor

    def _where(self, paths: dict[str, str]) -> str:
        return self.reader.where(paths["gt_path"], "gt")

    def _check_sizes(self, paths: dict[str, str], lq_size: tuple[int, ...], gt_size: tuple[int, ...]) -> None:
        """Check that GT is LQ times the scale; in tests, GT may have up to `scale - 1` more rows and columns."""
        (lq_h, lq_w), (gt_h, gt_w), scale = lq_size, gt_size, self.opt["scale"]
        spare = (gt_h - lq_h * scale, gt_w - lq_w * scale)
        if min(spare) < 0 or max(spare) > (0 if self.opt["phase"] == "train" else scale - 1):
            raise InputError(
                f"{self._where(paths)}: GT is {gt_h}x{gt_w}, but LQ {lq_h}x{lq_w} times scale {scale} is "
                f"{lq_h * scale}x{lq_w * scale}"
            )

    def check_images(self, patch_size: int) -> None:
        """Check, before a training begins, that every pair fits together and holds a patch.

        Args:
            patch_size: Side of the largest LQ patch that the training will take, pixels.

        Raises:
            InputError: A pair does not.
        """
        lq_sizes, gt_sizes = (
            self.reader.sizes([pair[f"{kind}_path"] for pair in self.paths], kind) for kind in ("lq", "gt")
        )
        for paths, lq_size, gt_size in zip(self.paths, lq_sizes, gt_sizes, strict=True):
            if lq_size and gt_size:
                self._check_sizes(paths, lq_size, gt_size)
                check_patch(gt_size, patch_size * self.opt["scale"], self._where(paths))


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
            raise InputError(f"data set {opt['name']}: {one_line(error)}") from error
        if not self.paths:
            raise InputError(f"data set {opt['name']}: no image in {opt['dataroot_lq']}")

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            item: dict[str, Any] = super().__getitem__(index)
        except Exception as error:
            raise InputError(
                f"data set {self.opt['name']}: {self.paths[index]}: cannot be decoded as an image ({one_line(error)})"
            ) from error
        return item


def to_tensor(image: Image) -> Tensor:
    """Convert (H, W, 3) BGR or (H, W, 1), 0..255, to (C, H, W) RGB or gray, float32, 0..1."""
    image = image[..., ::-1] if image.shape[2] == 3 else image
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float().div_(255)


def check_patch(size: tuple[int, ...], gt_patch: int, where: str) -> None:
    """Raise InputError if an image of `size` does not hold a GT patch of side `gt_patch`."""
    if min(size) < gt_patch:
        raise InputError(
            f"{where}: {size[0]}x{size[1]} is smaller than the GT patch {gt_patch}x{gt_patch}; remove it or take "
            "smaller patches"
        )


def _recorded_sizes(root: Path) -> dict[str, tuple[int, int]]:
    """Map keys to height and width, from the lines `key.png (h,w,c) level` of an LMDB's `meta_info.txt`."""
    pattern = re.compile(r"([^.]+)\.\S* \((\d+),(\d+),\d+\)")
    matches = map(pattern.match, (root / "meta_info.txt").read_text(encoding="utf-8").splitlines())
    return {match[1]: (int(match[2]), int(match[3])) for match in matches if match}


def _partnerless(opt: dict[str, Any]) -> str | None:
    """Name the first image of a paired set without a partner, and count the others."""
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
