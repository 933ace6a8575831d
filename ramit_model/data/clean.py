"""Clean images that are degraded on the fly: only GT is stored."""

from typing import Any

import torch

from ramit_model.basicsr_bridge import DATASET_REGISTRY
from ramit_model.data.degradation import add_blind_noise, add_test_noise
from ramit_model.data.listing import list_images, result_names, say
from ramit_model.data.patches import PatchRequest, as_request, random_patch
from ramit_model.data.reading import ImageReader, check_patch, in_color
from ramit_model.system.errors import InputError, one_line


@DATASET_REGISTRY.register()
class CleanImageDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Clean images with white Gaussian noise added when they are read.

    Options: `name`, `dataroot_gt`, `io_backend` (disk or lmdb), `meta_info_file` (names in the first column; without
    one, all images of the folder), `color: gray` (the images become gray by 8-bit RGB2GRAY before the noise), `sigma`
    (noise level in 8-bit gray levels: two limits of a uniform distribution for training, else one number); for
    training also `gt_size`, `use_hflip`, `use_rot`.

    `paths` and `names` are keys or files of the images and the names of their results, `gt_sizes` has height and width
    by path, as far as known; `remarks` are lines about what was left out.

    An item is a dict of lq and gt, both (C, H, W), RGB or gray, gt in 0..1 and lq not clipped, lq_path and gt_path.

    Raises:
        InputError: There is no image, or one cannot be decoded or is smaller than the patch. The line names the file.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.reader = ImageReader(opt, ("gt",))
        where = f"data set {opt['name']}"
        try:
            names, remarks = list_images(opt, "gt")
        except (OSError, InputError) as error:
            raise InputError(f"{where}: {one_line(error)}") from error
        self.names = names if opt["phase"] == "train" else result_names(names, where)
        self.paths = [self.reader.path(name, "gt") for name in names]
        self._convert = in_color(opt.get("color"))
        headers = self.reader.check(self.paths, "gt")
        headers.refuse_problems()
        self.gt_sizes = headers.sizes
        self.remarks = say([*remarks, *headers.remarks()], where, headers.details())

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
            gt = self._convert(image)
            generator = torch.Generator().manual_seed(rng.getrandbits(63))
            low, high = self.opt["sigma"]
            lq = add_blind_noise(gt, low, high, generator)
        else:
            gt = self._convert(image)
            lq = add_test_noise(gt, self.opt["sigma"])
        return {"lq": lq, "gt": gt, "lq_path": path, "gt_path": path}

    def check_images(self, patch_size: int) -> None:
        """Check, before a training begins, that every image holds a patch.

        Args:
            patch_size: Side of the largest patch that the training will take, pixels.

        Raises:
            InputError: One does not.
        """
        for path in self.paths:
            if size := self.gt_sizes.get(path):
                check_patch(size, patch_size, self.reader.where(path, "gt"))
