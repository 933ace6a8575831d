"""Losses that BasicSR does not have."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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
