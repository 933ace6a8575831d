"""Clean images that are degraded on the fly: only GT is stored."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ramit_model.basicsr_bridge import DATASET_REGISTRY, paths_from_lmdb, scandir
from ramit_model.data.degradation import add_blind_noise, add_test_noise, to_gray
from ramit_model.data.paired import ImageReader, check_patch, to_tensor
from ramit_model.data.patches import PatchRequest, as_request, random_patch
from ramit_model.system.errors import InputError, one_line


@DATASET_REGISTRY.register()
class CleanImageDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Clean images with white Gaussian noise added when they are read.

    Options: `name`, `dataroot_gt`, `io_backend` (disk or lmdb), `meta_info_file` (names in the first column; without
    one, all files of the folder), `color: gray` (the images become gray by 8-bit RGB2GRAY before the noise), `sigma`
    (noise level in 8-bit gray levels: two limits of a uniform distribution for training, else one number); for
    training also `gt_size`, `use_hflip`, `use_rot`.

    An item is a dict of lq and gt, both (C, H, W), RGB or gray, gt in 0..1 and lq not clipped, lq_path and gt_path.

    Raises:
        InputError: There is no image, or one cannot be decoded or is smaller than the patch. The line names the file.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.reader = ImageReader(opt, ("gt",))
        try:
            self.paths = _find_paths(opt)
        except (OSError, ValueError) as error:
            raise InputError(f"data set {opt['name']}: {one_line(error)}") from error
        if not self.paths:
            raise InputError(f"data set {opt['name']}: no image in {opt['dataroot_gt']}")

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def gt_paths(self) -> list[str]:
        """Keys or files of the images."""
        return self.paths

    def __getitem__(self, item: int | PatchRequest) -> dict[str, Any]:
        path = self.paths[item.image if isinstance(item, PatchRequest) else item]
        image = self.reader.read(path, "gt")
        if self.opt["phase"] == "train":
            request = as_request(item, self.opt.get("gt_size", 0))
            rng = request.generator()
            check_patch(image.shape[:2], request.patch_size, self.reader.where(path, "gt"))
            hflip, rot = self.opt["use_hflip"], self.opt["use_rot"]
            image, _ = random_patch(image, image, request, rng, hflip=hflip, rot=rot)
            gt = self._clean(image)
            generator = torch.Generator().manual_seed(rng.getrandbits(63))
            low, high = self.opt["sigma"]
            lq = add_blind_noise(gt, low, high, generator)
        else:
            gt = self._clean(image)
            lq = add_test_noise(gt, self.opt["sigma"])
        return {"lq": lq, "gt": gt, "lq_path": path, "gt_path": path}

    def _clean(self, image: Any) -> Tensor:
        return to_tensor(to_gray(image) if self.opt.get("color") == "gray" else image)

    def check_images(self, patch_size: int) -> None:
        """Check, before a training begins, that every image holds a patch.

        Args:
            patch_size: Side of the largest patch that the training will take, pixels.

        Raises:
            InputError: One does not.
        """
        for path, size in zip(self.paths, self.reader.sizes(self.paths, "gt"), strict=True):
            if size:
                check_patch(size, patch_size, self.reader.where(path, "gt"))


def _find_paths(opt: dict[str, Any]) -> list[str]:
    """List keys in an LMDB, or files on disk, in an order that is the same on every machine."""
    root = Path(opt["dataroot_gt"]).expanduser()
    if opt["io_backend"]["type"] == "lmdb":
        return sorted(paths_from_lmdb(str(root)))
    if opt.get("meta_info_file"):
        lines = Path(opt["meta_info_file"]).read_text(encoding="utf-8").splitlines()
        return [str(root / line.split(" ")[0]) for line in lines if line.strip()]
    return sorted(scandir(str(root), full_path=True))
