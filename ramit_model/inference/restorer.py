"""Restoring images from Python: `restore` for one, `Restorer` for many. `basicsr restore` is a shell over it.

>>> import numpy as np
>>> from ramit_model.inference.opened import OpenedNetwork
>>> network = OpenedNetwork(torch.nn.Upsample(scale_factor=2), {}, "nearest", "SR", 2, 3)
>>> restore(np.zeros((5, 7, 3), np.uint8), network).shape
(10, 14, 3)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ramit_model.inference.alpha import enlarge_alpha, fill_hidden
from ramit_model.inference.opened import OpenedNetwork, open_network
from ramit_model.inference.padding import size_unit
from ramit_model.inference.pixels import NotFiniteError
from ramit_model.inference.precision import PRECISIONS, Precision, autocast_type
from ramit_model.inference.restoring import Progress, restore_pixels
from ramit_model.inference.tiling import Tiling
from ramit_model.system.errors import InputError

Image = NDArray[Any]
"""(H, W, 3) RGB, (H, W, 4) RGB and alpha, or gray (H, W) or (H, W, 1); uint8, uint16, or floats in 0..1."""

BAND = 256
"""Rows that are averaged at a time."""


def restore(
    image: Image,
    weights: str | Path | OpenedNetwork,
    *,
    task: str | None = None,
    device: str = "auto",
    precision: Precision = "float32",
    tile: int | Literal["auto"] | None = "auto",
    self_ensemble: bool = False,
) -> Image:
    """Restore one image; for many, make a `Restorer` once. Arguments, result and errors are those of `Restorer`."""
    restorer = Restorer(weights, task=task, device=device, precision=precision, tile=tile, self_ensemble=self_ensemble)
    return restorer(image)


class Restorer:
    """A network with its weights, ready to restore images of any size.

    Args:
        weights: File of weights (.pth or .safetensors), name of published ones such as `RAMiT-1_X2`, or an opened
            network.
        task: Task of weights that do not tell it themselves: SR, CDN, GDN, LLE or DR.
        device: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`, `mps`.
        precision: Precision of computation: float32, tf32, bfloat16 or float16. Where a low one gives values that are
            not finite, float32 takes over.
        tile: Side of the tiles in input pixels; `auto`: the whole image if it fits the memory at hand, else the largest
            tiles that do; None: the whole image.
        self_ensemble: Average over the eight flips and turns of the image: slightly better, eight times as slow.

    Attributes:
        name: Name of the weights.
        task: Task of the network.
        scale: Output size over input size.
        channels: Channels of the images that the network takes, 3 (RGB) or 1 (gray).
        device: Device of the network.
        precision: Precision in use; `float32` once another one has failed.

    Raises:
        InputError: The weights cannot be opened, or there is no such device or precision.
    """

    def __init__(
        self,
        weights: str | Path | OpenedNetwork,
        *,
        task: str | None = None,
        device: str = "auto",
        precision: Precision = "float32",
        tile: int | Literal["auto"] | None = "auto",
        self_ensemble: bool = False,
    ) -> None:
        if precision not in PRECISIONS:
            raise InputError(f"precision {precision!r} is unknown; choose one of {', '.join(PRECISIONS)}")
        if not (tile in ("auto", None) or (isinstance(tile, int) and tile > 0)):
            raise InputError(f"tile {tile!r} is neither a positive number of pixels, nor 'auto', nor None")
        self.device = find_device(device)
        opened = weights if isinstance(weights, OpenedNetwork) else open_network(weights, task=task)
        self.name, self.task, self.scale, self.channels = opened.name, opened.task, opened.scale, opened.channels
        self.precision: Precision = precision
        self.self_ensemble = self_ensemble
        self._unit = size_unit(opened.network, opened.options)
        self._network = opened.network.to(self.device)
        self._tiling = Tiling(tile)

    def __call__(self, image: Image, *, progress: Progress | None = None) -> Image:
        """Restore an image.

        Args:
            image: See `Image`. With a color network, gray is taken as three equal channels and comes back gray. With a
                gray network, color is refused unless its channels are equal.
            progress: Called with the pixels computed so far, and those that there are to compute in all.

        Returns:
            (H * scale, W * scale) and the channels of `image`, in its type. Integers are clamped and rounded, half to
            even; floats are neither. Alpha is enlarged by super-resolution, and not touched by other tasks; hidden
            colors of fully transparent pixels do not bleed into the others.

        Raises:
            InputError: Shape, type or values are none of these.
            NotFiniteError: The network's result is not finite in float32 either.
        """
        image = _checked(image)
        if image.ndim == 2:
            return self._plane(image, progress)
        if image.shape[2] == 1:
            return self._plane(image[..., 0], progress)[..., None]
        if image.shape[2] == 3:
            return self.restore_planes(image, None, progress=progress)[0]
        pixels, alpha = self.restore_planes(image[..., :3], image[..., 3], progress=progress)
        return np.concatenate([pixels, alpha[..., None]], axis=2) if alpha is not None else pixels

    def restore_planes(
        self, pixels: Image, alpha: Image | None, *, progress: Progress | None = None
    ) -> tuple[Image, Image | None]:
        """Restore pixels and alpha that are apart.

        Args:
            pixels: (H, W, 3) RGB or (H, W).
            alpha: (H, W) of the same type, or None.
            progress: As in a call.

        Returns:
            Both restored; errors are those of a call.
        """
        if alpha is not None:
            pixels = fill_hidden(pixels, alpha)
        restored = self._plane(pixels, progress) if pixels.ndim == 2 else self._color(pixels, progress)
        if alpha is None:
            return restored, None
        return restored, enlarge_alpha(alpha, self.scale, lambda plane: _clamped(self._plane(plane, progress)))

    def _color(self, pixels: Image, progress: Progress | None) -> Image:
        if self.channels == 3:
            return self._run(pixels, progress)
        if not all(np.array_equal(pixels[..., 0], pixels[..., i]) for i in (1, 2)):
            raise InputError(f"is in color, and {self.name} restores gray images; convert it, or use other weights")
        return np.repeat(self._run(pixels[..., 0], progress)[..., None], 3, axis=2)

    def _plane(self, pixels: Image, progress: Progress | None) -> Image:
        """Gray image (H, W)."""
        if self.channels == 1:
            return self._run(pixels, progress)
        return _mean_of_channels(self._run(np.broadcast_to(pixels[..., None], (*pixels.shape, 3)), progress))

    def _run(self, pixels: Image, progress: Progress | None) -> Image:
        """Image as the network takes it -> result, in float32 if the precision turns out to be too low."""
        while True:
            try:
                with _tf32(self.device, self.precision == "tf32"):
                    return self._ensemble(pixels, progress) if self.self_ensemble else self._once(pixels, progress)
            except NotFiniteError:
                if autocast_type(self.precision) is None:
                    raise
                self.precision = "float32"

    def _once(self, pixels: Image, progress: Progress | None, out: Image | None = None) -> Image:
        return restore_pixels(
            self._network,
            pixels,
            unit=self._unit,
            scale=self.scale,
            tiling=self._tiling,
            device=self.device,
            precision=self.precision,
            out=np.empty(self._shape(pixels), pixels.dtype) if out is None else out,
            progress=progress,
        )

    def _shape(self, pixels: Image) -> tuple[int, ...]:
        height, width, *rest = pixels.shape
        return (height * self.scale, width * self.scale, *rest)

    def _ensemble(self, pixels: Image, progress: Progress | None) -> Image:
        """Average of the results of the eight flips and turns, each turned back."""
        total = np.zeros(self._shape(pixels), np.float32)
        for i in range(8):
            turned = np.rot90(pixels[:, ::-1] if i >= 4 else pixels, i % 4)
            part = self._once(turned, _part_of(progress, i, 8), np.empty(self._shape(turned), np.float32))
            part = np.rot90(part, -(i % 4))
            total += part[:, ::-1] if i >= 4 else part
        total /= 8
        if pixels.dtype == np.float32:
            return total
        white = np.iinfo(pixels.dtype).max
        return np.rint(np.clip(total, 0, 1, out=total) * white).astype(pixels.dtype)


def find_device(name: str) -> torch.device:
    """Device by its name; `auto` is a GPU if there is one, each of several processes of a launcher taking its own.

    Raises:
        InputError: There is no such device here.
    """
    from ramit_model.system.processes import local_rank

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"device {name!r} is unknown; choose auto, cpu, cuda, cuda:1, ... or mps")
    if device.type == "cuda":
        count = torch.cuda.device_count() if cuda else 0
        if not count or (device.index or 0) >= count:
            raise InputError(f"device {name}: there is no such GPU here ({count} found); use --device cpu")
        return torch.device("cuda", local_rank() % count) if device.index is None else device
    if device.type == "mps" and not mps:
        raise InputError("device mps: there is none here; use --device cpu")
    return device


def _checked(image: Image) -> Image:
    if not isinstance(image, np.ndarray):
        raise InputError(f"image is {type(image).__name__}; give an array of numpy")
    if image.dtype not in (np.uint8, np.uint16):
        if not np.issubdtype(image.dtype, np.floating):
            raise InputError(f"image is an array of {image.dtype}; give uint8, uint16 or floats in 0..1")
        image = image.astype(np.float32, copy=False)
        if not np.isfinite(image).all():
            raise InputError("image has values that are not finite (NaN or Inf)")
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))) or 0 in image.shape:
        raise InputError(f"image has shape {image.shape}; give (H, W), (H, W, 3) RGB or (H, W, 4) with alpha")
    return image


def _mean_of_channels(image: Image) -> Image:
    """Gray of an image whose channels are nearly equal."""
    gray = np.empty(image.shape[:2], image.dtype)
    for top in range(0, len(image), BAND):
        mean = image[top : top + BAND].mean(axis=2, dtype=np.float32)
        gray[top : top + BAND] = mean if image.dtype == np.float32 else np.rint(mean)
    return gray


def _clamped(plane: Image) -> Image:
    return np.clip(plane, 0, 1) if plane.dtype == np.float32 else plane


def _part_of(progress: Progress | None, part: int, parts: int) -> Progress | None:
    """Progress of one part of several equal ones."""
    if progress is None:
        return None
    report: Callable[[int, int], None] = progress
    return lambda done, total: report(part * total + done, parts * total)


@contextmanager
def _tf32(device: torch.device, allowed: bool) -> Iterator[None]:
    """Allow TF32 on a GPU, or do not; PyTorch's own setting returns afterwards."""
    if device.type != "cuda":
        yield
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
