"""Pairs of LQ and GT images; an error is one line that names the file."""

import glob
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.functional import normalize

from datasets_prep.pairing import pair
from ramit_model.basicsr_bridge import DATASET_REGISTRY
from ramit_model.data.listing import list_images, result_names, say
from ramit_model.data.patches import Image, PatchRequest, as_request, random_patch
from ramit_model.data.reading import ImageReader, Sizes, check_patch, in_color
from ramit_model.system.errors import InputError, one_line
from ramit_model.system.text import printable


@DATASET_REGISTRY.register()
class PairedRestorationDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Pairs with the options and items of BasicSR's `PairedImageDataset`; training patches come by `PatchRequest`.

    Beside its options: `color: gray`; `key`, a regular expression for names that are not equal (`datasets_prep.pairing`
    has what is known without). One GT image may have several LQ images.

    An item is a dict of lq (C, h, w) and gt (C, h * scale, w * scale), RGB in 0..1, lq_path and gt_path.

    Attributes:
        paths: lq_path and gt_path of each pair.
        names: Name of the result of each pair.
        gt_sizes: Height and width of GT images by path, as far as known.
        remarks: Lines about what was left out, and how LQ and GT were paired.

    Raises:
        InputError: LQ and GT do not pair up, there is no image, an image cannot be used, sizes do not match the scale,
            or an image is smaller than the patch. The line names the data set and the file.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt, self.where = opt, f"data set {opt['name']}"
        self.mean, self.std = opt.get("mean"), opt.get("std")
        self.reader = ImageReader(opt, ("lq", "gt"))
        try:
            pairs, remarks = _pairs(opt, self.reader)
        except (OSError, InputError) as error:
            raise InputError(f"{self.where}: {one_line(error)}") from error
        self.paths = [
            {"lq_path": self.reader.path(lq, "lq"), "gt_path": self.reader.path(gt, "gt")} for gt, lq in pairs
        ]
        several = len({gt for gt, _ in pairs}) < len(pairs)
        names = [lq if several else gt for gt, lq in pairs]
        self.names = names if opt["phase"] == "train" else result_names(names, self.where)
        self._convert = in_color(opt.get("color"))
        sizes: dict[str, Sizes] = {}
        details: list[str] = []
        for kind in ("lq", "gt"):
            headers = self.reader.check(dict.fromkeys(paths[f"{kind}_path"] for paths in self.paths), kind)
            headers.refuse_problems()
            sizes[kind] = headers.sizes
            remarks += [f"{kind.upper()}: {remark}" for remark in headers.remarks()]
            details += headers.details()
        for paths in self.paths:
            self._check_sizes(paths, *(sizes[kind].get(paths[f"{kind}_path"]) for kind in ("lq", "gt")))
        self.gt_sizes = sizes["gt"]
        self.remarks = say(remarks, self.where, details)

    def __len__(self) -> int:
        return len(self.paths)

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
        tensor = self._convert(image)
        if self.mean is not None or self.std is not None:
            normalize(tensor, self.mean, self.std, inplace=True)
        return tensor

    def _where(self, paths: dict[str, str]) -> str:
        return self.reader.where(paths["gt_path"], "gt")

    def _check_sizes(
        self, paths: dict[str, str], lq_size: tuple[int, ...] | None, gt_size: tuple[int, ...] | None
    ) -> None:
        """Check that GT is LQ times the scale; in tests, GT may have up to `scale - 1` more rows and columns."""
        if not lq_size or not gt_size:  # only decoding tells
            return
        (lq_h, lq_w), (gt_h, gt_w), scale = lq_size, gt_size, self.opt["scale"]
        spare = (gt_h - lq_h * scale, gt_w - lq_w * scale)
        if min(spare) < 0 or max(spare) > (0 if self.opt["phase"] == "train" else scale - 1):
            raise InputError(
                f"{self._where(paths)}: GT is {gt_h}x{gt_w}, but LQ {lq_h}x{lq_w} times scale {scale} is "
                f"{lq_h * scale}x{lq_w * scale}"
            )

    def check_images(self, patch_size: int) -> None:
        """Check, before a training begins, that every pair holds a patch.

        Args:
            patch_size: Side of the largest LQ patch that the training will take, pixels.

        Raises:
            InputError: A pair does not.
        """
        for paths in self.paths:
            if gt_size := self.gt_sizes.get(paths["gt_path"]):
                check_patch(gt_size, patch_size * self.opt["scale"], self._where(paths))


def _pairs(opt: dict[str, Any], reader: ImageReader) -> tuple[list[tuple[str, str]], list[str]]:
    """Names of GT and LQ of each pair, sorted, and remarks about what was left out and how they were paired."""
    if opt.get("meta_info_file") and reader.type != "lmdb":
        return _listed_pairs(opt, reader)
    gt, gt_remarks = list_images(opt, "gt")
    lq, lq_remarks = list_images(opt, "lq")
    remarks = [f"{kind}: {remark}" for kind, of_kind in (("LQ", lq_remarks), ("GT", gt_remarks)) for remark in of_kind]
    if reader.type == "lmdb":
        alone = sorted(set(gt) ^ set(lq))
        if alone:
            more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
            raise InputError(
                f"LQ and GT do not pair up: entry {alone[0]} has no partner{more}; add it, or remove this one"
            )
        return [(key, key) for key in gt], remarks
    if Path(reader.roots["gt"]).samefile(reader.roots["lq"]):
        raise InputError(f"{printable(reader.roots['gt'])}: is dataroot_gt and dataroot_lq; an image has one role only")
    try:
        found = pair(gt, lq, key=opt.get("key"), template=opt.get("filename_tmpl", "{}"))
    except InputError as error:
        roots = " and ".join(printable(reader.roots[kind]) for kind in ("gt", "lq"))
        raise InputError(f"LQ and GT do not pair up: {roots}: {error.line}") from None
    if found.how != "paired by equal names":
        remarks.append(f"{len(found.pairs)} pairs, {found.how}")
    return found.pairs, remarks


def _listed_pairs(opt: dict[str, Any], reader: ImageReader) -> tuple[list[tuple[str, str]], list[str]]:
    """Pairs of the GT images in a list: LQ has the same name, another suffix, or the one that `filename_tmpl` says."""
    pairs = []
    template = opt.get("filename_tmpl", "{}")
    for name in list_images(opt, "gt")[0]:
        path = Path(name)
        stem = template.format(path.stem)
        candidates = [path.with_name(stem + path.suffix), Path(stem + path.suffix)]  # the second as BasicSR has it
        lq = next((each for each in candidates if Path(reader.roots["lq"], each).is_file()), None)
        if lq is None:
            others = sorted(Path(reader.roots["lq"], path.parent).glob(f"{glob.escape(stem)}.*"))
            lq = others[0].relative_to(reader.roots["lq"]) if len(others) == 1 else None
        if lq is None:
            missing = printable(Path(reader.roots["lq"], candidates[0]))
            raise InputError(f"LQ and GT do not pair up: {missing}, the partner of {printable(name)}, is not there")
        pairs.append((name, lq.as_posix()))
    return pairs, []
