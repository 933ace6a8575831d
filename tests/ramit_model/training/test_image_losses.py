"""Losses that BasicSR does not have."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d
from skimage.metrics import structural_similarity

from ramit_model.training.image_losses import LEVEL_WEIGHTS, FFTLoss, MSSSIMLoss, SSIMLoss

pytestmark = pytest.mark.fast


def pair(
    height: int = 48, width: int = 46, channels: int = 3, noise: float = 0.05
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, channels, 7, 6, generator=generator, dtype=torch.float64)
    target = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    shape = target.shape
    return target + noise * torch.randn(shape, generator=generator, dtype=torch.float64), target


def test_frequencies_are_those_of_numpy() -> None:
    pred, target = pair()
    spectrum = np.fft.rfft2((pred - target).numpy(), norm="ortho")
    expected = (np.abs(spectrum.real).mean() + np.abs(spectrum.imag).mean()) / 2
    assert FFTLoss(loss_weight=0.5)(pred, target).item() == pytest.approx(0.5 * expected)


@settings(deadline=None, max_examples=20)
@given(st.integers(8, 40), st.integers(8, 40))
def test_frequencies_do_not_depend_on_the_size(height: int, width: int) -> None:
    flat = torch.zeros(1, 1, height, width)
    flat[..., 0, 0] = 1  # an impulse: every frequency has the same magnitude
    loss = FFTLoss(reduction="sum")(flat, torch.zeros_like(flat)).item()
    assert loss == pytest.approx((width // 2 + 1) * height / math.sqrt(height * width), rel=1e-5)


def test_ssim_is_that_of_scikit_image() -> None:
    pred, target = pair()
    expected = [
        structural_similarity(
            *(image.permute(1, 2, 0).numpy() for image in images),
            channel_axis=-1,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for images in zip(pred, target, strict=True)
    ]
    assert SSIMLoss()(pred, target).item() == pytest.approx(1 - np.mean(expected), abs=1e-6)


def test_one_level_is_ssim_raised_to_all_exponents() -> None:
    pred, target = pair(channels=1)
    alone = 1 - MSSSIMLoss(levels=1)(pred[:1], target[:1]).item()
    assert alone == pytest.approx((1 - SSIMLoss()(pred[:1], target[:1]).item()) ** sum(LEVEL_WEIGHTS), rel=1e-6)


def similarities(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """SSIM of one channel, and its part of contrast and structure alone, averaged over the image."""
    line = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2

    def local(values: np.ndarray) -> np.ndarray:
        return convolve2d(values, window, mode="valid")

    mean_x, mean_y = local(x), local(y)
    structure = 2 * (local(x * y) - mean_x * mean_y) + 0.03**2
    structure /= local(x * x) + local(y * y) - mean_x**2 - mean_y**2 + 0.03**2
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    return (luminance * structure).mean(), structure.mean()


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_scales_are_those_of_the_definition(levels: int) -> None:
    """Against SciPy, channel by channel."""
    pred, target = pair(181, 178)
    exponents = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333][:levels])
    exponents /= exponents.sum()  # those of the paper have a sum of 1.0001
    values = []
    for x, y in zip(pred.flatten(0, 1).numpy(), target.flatten(0, 1).numpy(), strict=True):
        value = 1.0
        for level, exponent in enumerate(exponents, 1):
            whole, structure = similarities(x, y)
            value *= (whole if level == levels else structure) ** exponent
            even = [side // 2 * 2 for side in x.shape]
            x, y = (  # noqa: PLW2901
                image[: even[0], : even[1]].reshape(even[0] // 2, 2, even[1] // 2, 2).mean((1, 3)) for image in (x, y)
            )
        values.append(value)
    assert MSSSIMLoss(2.0, levels=levels)(pred, target).item() == pytest.approx(2 - 2 * np.mean(values), rel=1e-3)


@pytest.mark.parametrize("loss", [FFTLoss(), SSIMLoss(), MSSSIMLoss(levels=2), MSSSIMLoss(levels=3)])
def test_values_and_gradients(loss: torch.nn.Module) -> None:
    pred, target = pair(noise=0.02)
    worse, _ = pair(noise=0.2)
    assert loss(target, target).item() == pytest.approx(0, abs=1e-9)
    assert 0 < loss(pred, target).item() < loss(worse, target).item()
    small = pred[:1, :1, :44, :44].clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (small, target[:1, :1, :44, :44]), fast_mode=True)
    # A step against the gradient makes it smaller.
    moved = pred.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(moved, target), moved)
    assert loss(pred - 1e-3 * gradient / gradient.norm(), target).item() < loss(pred, target).item()


def test_opposite_images_still_have_finite_gradients() -> None:
    _, target = pair()
    opposite = (1 - target).requires_grad_()
    loss = MSSSIMLoss(levels=3)(opposite, target)
    (gradient,) = torch.autograd.grad(loss, opposite)
    assert math.isfinite(loss.item())
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FFTLoss(reduction="avg"), "reduction must be one of mean, sum, not 'avg'"),  # type: ignore[arg-type]
        (lambda: MSSSIMLoss(levels=6), "levels must be one of 1, 2, 3, 4, 5, not 6"),
        (lambda: SSIMLoss()(*pair(10, 40)), "needs GT patches of at least 11 pixels, not 10"),
        (lambda: MSSSIMLoss(levels=4)(*pair(80, 88)), "MSSSIMLoss with 4 levels needs GT patches of at least 88"),
    ],
)
def test_mistakes(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
