"""MobiVari against its formula."""

import doctest

import pytest
import torch
from torch.nn import functional as F

from ramit_arch import mobivari


def test_doctests() -> None:
    assert doctest.testmod(mobivari).failed == 0


def convolved(layer: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """A channels-last map, (B, H, W, C), through PyTorch's own convolution."""
    y = F.conv2d(x.movedim(-1, 1), layer.weight, layer.bias, padding=layer.padding, groups=layer.groups)
    return y.movedim(1, -1)


@pytest.mark.parametrize("out_dim", [8, 12])
def test_version_1_is_its_formula(out_dim: int) -> None:
    layer, x = mobivari.MobiVari1(8, out_dim), torch.randn(2, 16, 8, 8)
    depthwise = F.leaky_relu(convolved(layer.dw_conv, x), 0.01)
    expected = F.leaky_relu(convolved(layer.pw_conv, depthwise + x), 0.01)
    expected = expected + x if out_dim == 8 else expected
    torch.testing.assert_close(layer(x), expected)
    with torch.no_grad():  # by the kernels, where there are any
        torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("out_dim", [8, 12])
def test_version_2_is_its_formula(out_dim: int) -> None:
    layer, x = mobivari.MobiVari2(8, out_dim, expansion=1.2, groups=4), torch.randn(2, 16, 8, 8)
    e = F.leaky_relu(convolved(layer.exp_conv, x), 0.01)
    expected = convolved(layer.pw_conv, F.leaky_relu(convolved(layer.dw_conv, e) + e, 0.01))
    expected = expected + x if out_dim == 8 else expected
    torch.testing.assert_close(layer(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected)
    assert layer.exp_conv.groups == 4
    assert layer.dw_conv.groups == layer.dw_conv.in_channels == 12  # int(8 * 1.2) = 9, raised to 12


def test_channels_must_divide_into_groups() -> None:
    with pytest.raises(ValueError, match="groups"):
        mobivari.MobiVari2(10, 10, expansion=1.2, groups=4)
