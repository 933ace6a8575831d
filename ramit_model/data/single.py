"""LQ images alone, such as a folder of photos: one that is damaged does not keep the others from being restored."""

from typing import Any

import torch
from torchvision.transforms.functional import normalize

from ramit_model.basicsr_bridge import DATASET_REGISTRY
from ramit_model.data.listing import list_images, result_names, say
from ramit_model.data.reading import ImageReader, in_color
from ramit_model.system.errors import InputError, one_line


@DATASET_REGISTRY.register()
class SingleRestorationDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """LQ images with the options and items of BasicSR's `SingleImageDataset`, and `color: gray`.

    An item is a dict of lq (C, H, W), RGB in 0..1, and lq_path. Where an image cannot be used, it has `problem`, a line
    that names the data set and the file, in place of lq.

    Attributes:
        paths: Keys or files of the images.
        names: Name of the result of each image.
        remarks: Lines about what was left out.

    Raises:
        InputError: There is no image, or two would have one result. The line names the data set and the files.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.mean, self.std = opt.get("mean"), opt.get("std")
        where = f"data set {opt['name']}"
        try:
            names, remarks = list_images(opt, "lq")
        except (OSError, InputError) as error:
            raise InputError(f"{where}: {one_line(error)}") from error
        self.names = result_names(names, where)
        self.reader = ImageReader(opt, ("lq",))
        self.paths = [self.reader.path(name, "lq") for name in names]
        self._convert = in_color(opt.get("color"))
        headers = self.reader.check(self.paths, "lq")
        self._problems = headers.problems
        self.remarks = say([*remarks, *headers.remarks()], where, headers.details())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        try:
            if path in self._problems:
                raise InputError(self._problems[path])
            lq = self._convert(self.reader.read(path, "lq"))
        except InputError as error:
            return {"problem": error.line, "lq_path": path}
        if self.mean is not None or self.std is not None:
            normalize(lq, self.mean, self.std, inplace=True)
        return {"lq": lq, "lq_path": path}
