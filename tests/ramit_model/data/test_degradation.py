"""Noise and gray as the published models were trained and tested with."""

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils import bgr2ycbcr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ramit_model.data.degradation import add_blind_noise, add_test_noise, to_gray

# Gray -----------------------------------------------------------------------------------------------------------------

images = st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3)).flatmap(lambda shape: arrays(np.uint8, shape))


@given(images)
def test_gray_is_opencvs_rgb2gray(image: np.ndarray) -> None:
    rgb = np.ascontiguousarray(image[..., ::-1])
    expected = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).reshape(*image.shape[:2], 1)
    gray = to_gray(image)
    assert gray.dtype == np.uint8
    np.testing.assert_array_equal(gray, expected)


def test_gray_in_numbers() -> None:
    """0.299 R + 0.587 G + 0.114 B, rounded."""
    bgr = np.array([[[0, 0, 255], [0, 255, 0], [255, 0, 0], [30, 20, 10]]], np.uint8)
    assert to_gray(bgr)[0, :, 0].tolist() == [76, 150, 29, 18]


def test_gray_weights_on_many_colors() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    exact = image @ np.array([0.114, 0.587, 0.299])
    assert np.abs(to_gray(image)[..., 0] - exact).max() < 0.51


def test_gray_levels_stay() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    np.testing.assert_array_equal(to_gray(np.repeat(levels, 3, axis=2)), levels)


def test_gray_is_not_the_luma_of_the_metrics() -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    luma = bgr2ycbcr(image, y_only=True)
    assert np.abs(to_gray(image)[..., 0].astype(int) - luma).max() >= 10
    assert to_gray(np.full((2, 2, 3), 255, np.uint8)).max() == 255
    assert bgr2ycbcr(np.full((2, 2, 3), 255, np.uint8), y_only=True).max() == 235


def test_gray_of_a_view() -> None:
    """Patches are mirrored views."""
    image = np.random.default_rng(2).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    view = image[::-1, ::-1].transpose(1, 0, 2)
    np.testing.assert_array_equal(to_gray(view), to_gray(image)[::-1, ::-1].transpose(1, 0, 2))


# Noise of the tests ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [15, 25, 50, 7.5])
@pytest.mark.parametrize("shape", [(3, 33, 20), (1, 33, 20), (3, 1, 1), (1, 64, 64)])
def test_test_noise_is_the_published_protocol(shape: tuple[int, int, int], sigma: float) -> None:
    clean = torch.rand(shape, generator=torch.Generator().manual_seed(5))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = clean + torch.randn(*shape) * sigma / 255
    assert torch.equal(add_test_noise(clean, sigma), expected)


def test_test_noise_of_level_zero_is_none() -> None:
    clean = torch.rand(3, 5, 6)
    assert torch.equal(add_test_noise(clean, 0), clean)


def test_test_noise_is_not_clipped() -> None:
    low, high = (add_test_noise(torch.full((3, 64, 64), value), 50) for value in (0.0, 1.0))
    assert low.min() < -0.5
    assert high.max() > 1.5


def test_test_noise_is_the_same_for_every_image() -> None:
    one, other = torch.zeros(3, 30, 40), torch.zeros(3, 30, 40)
    torch.manual_seed(3)
    first = add_test_noise(one, 25)
    torch.rand(100)
    assert torch.equal(first, add_test_noise(other, 25))
    torch.testing.assert_close(add_test_noise(one, 50), 2 * first)


@pytest.mark.parametrize("noise", ["test", "blind"])
def test_the_global_generator_is_left_alone(noise: str) -> None:
    clean, state = torch.zeros(3, 20, 20), torch.get_rng_state()
    if noise == "test":
        add_test_noise(clean, 25)
    else:
        add_blind_noise(clean, 0, 50, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), state)
    assert not clean.any()


# Noise of the training ------------------------------------------------------------------------------------------------


def blind_noise(count: int, low: float, high: float, shape: tuple[int, int, int] = (3, 32, 32)) -> torch.Tensor:
    """The noise on as many patches, seeded one by one; (count, C, H, W) in 8-bit gray levels."""
    clean, noisy = torch.full(shape, 0.5), []
    for seed in range(count):
        noisy.append(add_blind_noise(clean, low, high, torch.Generator().manual_seed(seed)) - clean)
    return torch.stack(noisy) * 255


def test_blind_levels_are_uniform() -> None:
    """By the largest distance from the distribution function, which 0.1 % of all fair samples exceed."""
    count = 4000
    levels = blind_noise(count, 0, 50).flatten(1).std(1).sort().values
    assert levels.mean().item() == pytest.approx(25, abs=3 * 50 / 12**0.5 / count**0.5)
    assert levels[0] < 0.5
    assert 49 < levels[-1] < 52
    expected = (levels / 50).clamp(max=1)
    assert (expected - torch.arange(count) / count).abs().max() < 1.95 / count**0.5


def test_blind_levels_keep_their_limits() -> None:
    levels = blind_noise(300, 10, 20).flatten(1).std(1)
    # 3,072 values give a standard deviation to 1.3 %.
    assert 10 * 0.93 < levels.min() < 10.6
    assert 19.4 < levels.max() < 20 * 1.07


def test_blind_noise_is_white_and_normal() -> None:
    noise = blind_noise(400, 25, 25)
    assert noise.std().item() == pytest.approx(25, rel=0.002)
    assert noise.mean().item() == pytest.approx(0, abs=0.1)
    assert (noise.abs() < 25).float().mean().item() == pytest.approx(0.6827, abs=0.005)
    assert (noise.abs() > 75).float().mean().item() == pytest.approx(0.0027, abs=0.0006)
    for neighbours in (
        noise[..., 1:] * noise[..., :-1],
        noise[..., 1:, :] * noise[..., :-1, :],
        noise[:, 1:] * noise[:, :-1],
    ):
        assert neighbours.mean().item() / 25**2 == pytest.approx(0, abs=0.012)


def test_blind_noise_is_not_clipped() -> None:
    for value in (0.0, 1.0):
        noisy = add_blind_noise(torch.full((3, 64, 64), value), 50, 50, torch.Generator().manual_seed(0))
        assert (noisy - value).abs().max() > 0.5
        assert ((noisy < 0) if value == 0 else (noisy > 1)).float().mean().item() == pytest.approx(0.5, abs=0.03)


def test_blind_noise_is_reproducible() -> None:
    clean = torch.rand(3, 16, 16)
    one, same = (add_blind_noise(clean, 0, 50, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(one, same)
    generator = torch.Generator().manual_seed(7)
    assert torch.equal(add_blind_noise(clean, 0, 50, generator), one)
    assert not torch.equal(add_blind_noise(clean, 0, 50, generator), one)
