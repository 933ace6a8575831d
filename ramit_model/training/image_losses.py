"""Losses between images that BasicSR does not have: frequencies, SSIM, MS-SSIM; entered into its LOSS_REGISTRY."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ramit_model.basicsr_bridge import LOSS_REGISTRY

WINDOW, SIGMA = 11, 1.5
"""Side and standard deviation of the Gaussian window of SSIM, pixels."""
STABILIZERS = (0.01**2, 0.03**2)
"""Constants of SSIM for images in 0..1."""
LEVEL_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of MS-SSIM, from full size down."""


@LOSS_REGISTRY.register()
class FFTLoss(nn.Module):
    r"""L1 distance between the Fourier transforms of two images, real and imaginary parts apart.

    `loss_weight * mean(|Re(F(x) - F(y))|, |Im(F(x) - F(y))|)`, F the orthonormal two-dimensional transform of each
    channel, so that the loss does not depend on the size of the patches. Cho et al., "Rethinking Coarse-to-Fine
    Approach in Single Image Deblurring" (ICCV 2021), use it beside L1, at several scales and not normalized.

    Args:
        loss_weight: Factor of the loss.
        reduction: `mean` or `sum` over all frequencies.

    Shape:
        (B, C, H, W), (B, C, H, W) -> scalar.
    """

    def __init__(self, loss_weight: float = 1.0, reduction: Literal["mean", "sum"] = "mean") -> None:
        super().__init__()
        _check_choice("reduction", reduction, ("mean", "sum"))
        self.loss_weight, self.reduction = loss_weight, reduction

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        difference = torch.view_as_real(torch.fft.rfft2(pred - target, norm="ortho"))
        return self.loss_weight * F.l1_loss(difference, torch.zeros_like(difference), reduction=self.reduction)


@LOSS_REGISTRY.register()
class SSIMLoss(nn.Module):
    """One minus the structural similarity (Wang et al., "Image Quality Assessment", 2004) of two images in 0..1.

    Local moments by a Gaussian window of 11x11 pixels with standard deviation 1.5, where it lies within the image; the
    average over pixels and channels.

    Args:
        loss_weight: Factor of the loss.

    Shape:
        (B, C, H, W), (B, C, H, W), H and W at least 11 -> scalar.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        _check_size(pred, WINDOW, "SSIMLoss")
        luminance, structure = ssim_maps(pred, target)
        return self.loss_weight * (1 - (luminance * structure).mean())


@LOSS_REGISTRY.register()
class MSSSIMLoss(nn.Module):
    """One minus the multi-scale structural similarity (Wang et al., 2003) of two images in 0..1.

    The product over scales, each half as large as the one before, of contrast and structure, and of luminance at the
    last, raised to the exponents of the paper. Five scales need patches of 176 pixels; with fewer, the first exponents
    are taken and scaled to the same sum.

    Args:
        loss_weight: Factor of the loss.
        levels: Number of scales, 1 to 5.

    Shape:
        (B, C, H, W), (B, C, H, W), H and W at least 11 * 2^(levels - 1) -> scalar.
    """

    def __init__(self, loss_weight: float = 1.0, levels: int = 3) -> None:
        super().__init__()
        _check_choice("levels", levels, range(1, len(LEVEL_WEIGHTS) + 1))
        total = sum(LEVEL_WEIGHTS[:levels])
        self.loss_weight = loss_weight
        self.exponents = [weight / total * sum(LEVEL_WEIGHTS) for weight in LEVEL_WEIGHTS[:levels]]

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        _check_size(pred, WINDOW * 2 ** (len(self.exponents) - 1), f"MSSSIMLoss with {len(self.exponents)} levels")
        total = pred.new_ones(pred.shape[:2])
        for level, exponent in enumerate(self.exponents, 1):
            luminance, structure = ssim_maps(pred, target)
            last = level == len(self.exponents)
            similarity = (luminance * structure if last else structure).mean((2, 3))
            # A negative base has no power; its gradient would be none.
            total = total * similarity.clamp(min=1e-4) ** exponent
            if not last:
                pred, target = F.avg_pool2d(pred, 2), F.avg_pool2d(target, 2)
        return self.loss_weight * (1 - total.mean())


def ssim_maps(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast with structure, of SSIM: their product is SSIM at each pixel.

    Args:
        x: Images in 0..1, (B, C, H, W).
        y: Others of the same shape.

    Returns:
        Two maps (B, C, H - 10, W - 10).
    """
    channels = x.shape[1]
    distance = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    gauss = torch.exp(-0.5 * (distance / SIGMA) ** 2)
    gauss = (gauss / gauss.sum()).expand(channels, 1, 1, WINDOW)

    def local_mean(values: Tensor) -> Tensor:
        rows = F.conv2d(values, gauss, groups=channels)
        return F.conv2d(rows, gauss.mT, groups=channels)

    c1, c2 = STABILIZERS
    mean_x, mean_y = local_mean(x), local_mean(y)
    variances = local_mean(x * x) - mean_x**2 + local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance, (2 * covariance + c2) / (variances + c2)


def _check_choice(name: str, value: object, choices: "tuple[str, ...] | range") -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, not {value!r}")


def _check_size(images: Tensor, least: int, name: str) -> None:
    if min(images.shape[2:]) < least:
        raise ValueError(f"{name} needs GT patches of at least {least} pixels, not {min(images.shape[2:])}")
