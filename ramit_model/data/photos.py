"""Folders of photos as they are: LQ is made when a photo is read, and some photos are held out for validation."""

from pathlib import Path, PurePath
from typing import Any

import torch

from datasets_prep.bicubic import crop_to_multiple, downscale, downscale_part
from ramit_model.basicsr_bridge import DATASET_REGISTRY
from ramit_model.data.decoded import DecodedPhotos
from ramit_model.data.degradation import add_blind_noise, add_test_noise
from ramit_model.data.listing import result_names, say
from ramit_model.data.patches import Image, PatchRequest, as_request, random_cut
from ramit_model.data.photo_listing import Photo, held_out, list_photos
from ramit_model.data.reading import ImageReader, check_patch, in_color
from ramit_model.system.errors import InputError, one_line
from ramit_model.system.image_names import some_of
from ramit_model.system.text import printable

FEW = 10
"""Photos, of which fewer are said to be few."""

JPEG_SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif"))
CACHE_FOLDER = "experiments/.decoded"
CACHE_GB = 20.0
GIGA = 10**9


@DATASET_REGISTRY.register()
class PhotoDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Photos in a folder and its sub-folders, of any names and formats, without any preparation.

    LQ is that of `dataroot_lq`, if it is given. Else, at a scale above 1, it is made by MATLAB's bicubic `imresize` of
    the photo, cropped to a multiple of the scale; at scale 1, it is the photo with white Gaussian noise.

    Options: `name`, `dataroot_gt`, `dataroot_lq` (with `key`, `filename_tmpl`), `meta_info_file`, `color: gray`,
    `shrink` (photos are downscaled by this number before anything else), `sigma` (noise level in 8-bit gray levels: two
    limits of a uniform distribution for training, else one number), `held_out` (`tenth`, or how many photos; training
    takes all others, validation these alone; 0: all are taken), `gt_size` (smaller photos are left out), `crop` (side
    of the centre that a validation takes, LQ pixels); for training also `use_hflip`, `use_rot`, `cache_gb`,
    `cache_folder`.

    An item is a dict of lq (C, h, w) and gt (C, h * scale, w * scale), RGB or gray, gt in 0..1, noisy lq not clipped;
    lq_path and gt_path.

    Attributes:
        photos: Names of the photos, and of their LQ images.
        names: Name of the result of each photo, with its suffix.
        gt_paths: File of each photo.
        gt_sizes: Height and width by path, shrunk.
        remarks: Lines about what is left out, held out, or a bad idea.

    Raises:
        InputError: There is no photo, one cannot be read, LQ and GT do not fit, or nothing is left to train on or to
            validate with. The line names the data set and the file.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt, self.where = opt, f"data set {opt['name']}"
        self.training, self.scale = opt["phase"] == "train", opt["scale"]
        self.shrink, self.noisy = opt.get("shrink", 1), self.scale == 1 and not opt.get("dataroot_lq")
        self.reader = ImageReader(
            {**opt, "io_backend": {"type": "disk"}}, ("gt", "lq") if opt.get("dataroot_lq") else ("gt",)
        )
        try:
            photos, remarks = list_photos(opt)
        except (OSError, InputError) as error:
            raise InputError(f"{self.where}: {one_line(error)}") from error
        self._convert = in_color(opt.get("color"))
        self._sizes: dict[str, dict[str, tuple[int, int]]] = {}
        details = self._read_headers(photos, remarks)
        large = self._large_enough(photos, remarks)
        self.photos = self._side(large, remarks, details)
        self.gt_paths = [self._path(photo, "gt") for photo in self.photos]
        self.gt_sizes = self._sizes["gt"]
        several = len(set(self.gt_paths)) < len(self.photos)
        names = (photo.lq if several and photo.lq else photo.gt for photo in self.photos)
        # With suffix: photos of two formats may have one name.
        self.names = result_names((f"{name}.png" for name in names), self.where)
        self._decoded = self._cache(remarks) if self.training else None
        # The training set has said everything that is true of what it holds out, too.
        self.remarks = say(remarks, self.where, details) if self.training or not opt.get("held_out") else []

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, item: int | PatchRequest) -> dict[str, Any]:
        photo = self.photos[item.image if isinstance(item, PatchRequest) else item]
        height, width = self._lq_size(photo)
        if self.training:
            request = as_request(item, self.opt["gt_size"] // self.scale)
            rng = request.generator()
            where = self.reader.where(self._path(photo, "gt"), "gt")
            check_patch((height * self.scale, width * self.scale), request.patch_size * self.scale, where)
            cut = random_cut(height, width, request, rng, hflip=self.opt["use_hflip"], rot=self.opt["use_rot"])
            lq, gt = (self._convert(cut.turned(image)) for image in self._part(photo, *cut.window()))
            if self.noisy:
                generator = torch.Generator().manual_seed(rng.getrandbits(63))
                low, high = self.opt["sigma"]
                lq = add_blind_noise(gt, low, high, generator)
        else:
            crop = self.opt.get("crop")
            rows, columns = (_centre(side, min(side, crop or side)) for side in (height, width))
            lq, gt = (self._convert(image) for image in self._part(photo, rows, columns))
            if self.noisy:
                lq = add_test_noise(gt, self.opt["sigma"])
        return {"lq": lq, "gt": gt, "lq_path": self._path(photo), "gt_path": self._path(photo, "gt")}

    def check_images(self, patch_size: int) -> None:
        """Do nothing: photos that hold no patch of `gt_size` are left out.

        Args:
            patch_size: Side of the largest LQ patch, pixels.
        """

    # Reading ----------------------------------------------------------------------------------------------------------

    def _path(self, photo: Photo, kind: str = "lq") -> str:
        """File of a photo; where it has no LQ image, it is its own."""
        if kind == "lq" and photo.lq:
            return self.reader.path(photo.lq, "lq")
        return self.reader.path(photo.gt, "gt")

    def _part(self, photo: Photo, rows: slice, columns: slice) -> tuple[Image, Image]:
        """LQ and GT of a part that is given in LQ pixels."""
        whole = self._read(photo, "gt")
        gt = whole[tuple(slice(part.start * self.scale, part.stop * self.scale) for part in (rows, columns))]
        if photo.lq:
            return self._read(photo, "lq")[rows, columns], gt
        if self.scale == 1:
            return gt, gt
        return downscale_part(crop_to_multiple(whole, self.scale), self.scale, rows, columns), gt

    def _read(self, photo: Photo, kind: str) -> Image:
        path = self._path(photo, kind)

        def decode(path: str) -> Image:
            image = self.reader.read(path, kind)
            if self.shrink > 1:
                image = downscale(crop_to_multiple(image, self.shrink), self.shrink)
            if image.shape[:2] != self._sizes[kind][path]:
                raise InputError(f"{self.reader.where(path, kind)}: has another size than before; start again")
            return image

        return self._decoded.read(path, decode) if self._decoded else decode(path)

    def _cache(self, remarks: list[str]) -> DecodedPhotos | None:
        """Folder for the decoded photos of a training; None without one."""
        limit, folder = self.opt.get("cache_gb", CACHE_GB), Path(self.opt.get("cache_folder") or CACHE_FOLDER)
        if not limit:
            return None
        sizes = {
            self._path(photo, kind): self._sizes[kind][self._path(photo, kind)]
            for kind in self.reader.roots
            for photo in self.photos
        }
        found = DecodedPhotos(folder.absolute(), int(limit * GIGA), sizes, f"shrink {self.shrink}")
        remarks.append(f"decoded once, kept in {printable(folder)}: {found.bytes / GIGA:.2g} GB; may be deleted")
        if rest := len(sizes) - len(found.kept):
            remarks.append(
                f"{rest} of {len(sizes)} photos find no room there and are decoded for each patch, which is slow; "
                "raise cache_gb, free disk space, or shrink the photos"
            )
        return found

    # What is there ----------------------------------------------------------------------------------------------------

    def _read_headers(self, photos: list[Photo], remarks: list[str]) -> list[str]:
        """Note the sizes of all images, shrunk, and check that they fit; returns what only the log shall have."""
        details = []
        for kind in self.reader.roots:
            headers = self.reader.check(dict.fromkeys(self._path(photo, kind) for photo in photos), kind)
            headers.refuse_problems()
            self._sizes[kind] = {
                path: (height // self.shrink, width // self.shrink) for path, (height, width) in headers.sizes.items()
            }
            remarks += headers.remarks()
            details += headers.details()
        for photo in photos:
            lq, gt = self._lq_size(photo), self._sizes["gt"][self._path(photo, "gt")]
            spare = [side - small * self.scale for side, small in zip(gt, lq, strict=True)]
            if min(spare) < 0 or max(spare) >= self.scale:
                raise InputError(
                    f"{self.reader.where(self._path(photo, 'gt'), 'gt')}: GT is {gt[0]}x{gt[1]}, but LQ "
                    f"{lq[0]}x{lq[1]} times scale {self.scale} is {lq[0] * self.scale}x{lq[1] * self.scale}"
                )
        return details

    def _lq_size(self, photo: Photo) -> tuple[int, int]:
        if photo.lq:
            return self._sizes["lq"][self._path(photo, "lq")]
        height, width = self._sizes["gt"][self._path(photo, "gt")]
        return height // self.scale, width // self.scale

    def _large_enough(self, photos: list[Photo], remarks: list[str]) -> list[Photo]:
        """Photos that hold a patch."""
        patch = max(1, (self.opt.get("gt_size") or 0) // self.scale)
        large = [photo for photo in photos if min(self._lq_size(photo)) >= patch]
        if small := sorted({photo.gt for photo in photos} - {photo.gt for photo in large}):
            size = f"{patch * self.scale}x{patch * self.scale}"
            shrunk = f" after shrink {self.shrink}" if self.shrink > 1 else ""
            count = f"{len(small)} photo{'s' * (len(small) > 1)} left out, smaller than a GT patch of {size}{shrunk}"
            remarks.append(f"{count}: {some_of(small)}")
        if not large:
            raise InputError(f"{self.where}: {printable(self.reader.roots['gt'])}: {remarks[-1]}; none remains")
        return large

    def _side(self, photos: list[Photo], remarks: list[str], details: list[str]) -> list[Photo]:
        """Photos of the training, or those that are held out for the validation."""
        count = self.opt.get("held_out", 0)
        names = dict.fromkeys(photo.gt for photo in photos)
        try:
            held = held_out(names, count) if count else set()
        except InputError as error:
            raise InputError(f"{self.where}: {printable(self.reader.roots['gt'])}: {error}") from None
        if self.training:
            trained = len(names) - len(held)
            if held:
                remarks.append(f"{trained} photos to train on, {len(held)} held out: {some_of(sorted(held))}")
                details += [f"held out: {printable(name)}" for name in sorted(held)]
            remarks += self._doubts([name for name in names if name not in held])
            return [photo for photo in photos if photo.gt not in held]
        return [photo for photo in photos if not count or photo.gt in held]

    def _doubts(self, names: list[str]) -> list[str]:
        """Lines about what is a bad idea."""
        doubts = []
        if len(names) < FEW:
            doubts.append(f"{len(names)} photos are few: the network may get worse at all others; some 50 are better")
        jpeg = sum(PurePath(name).suffix.lower() in JPEG_SUFFIXES for name in names)
        if jpeg and self.shrink == 1 and not self.opt.get("dataroot_lq"):
            doubts.append(
                f"{jpeg} of {len(names)} photos are JPEG, and their artefacts are learned as if they were detail; "
                "shrink: 2 halves the photos first"
            )
        return doubts


def _centre(side: int, length: int) -> slice:
    start = (side - length) // 2
    return slice(start, start + length)
