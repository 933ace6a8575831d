"""MobiVari against its formula."""

import doctest

from ramit_arch import mobivari

import pytest
import torch
from torch.nn import functional as F


def test_doctests() -> None:
    assert doctest.testmod(mobivari).failed == 0


@pytest.mark.parametrize("out_dim", [8, 12])
def test_version_1_is_its_formula(out_dim: int) -> None:
    layer, x = mobivari.MobiVari1(8, out_dim), torch.randn(2, 8, 5, 6)
    depthwise = F.leaky_relu(layer.dw_conv(x), 0.01)
    expected = F.leaky_relu(layer.pw_conv(depthwise + x), 0.01)
    torch.testing.assert_close(layer(x), expected + x if out_dim == 8 else expected)


@pytest.mark.parametrize("out_dim", [8, 12])
def test_version_2_is_its_formula(out_dim: int) -> None:
    layer, x = mobivari.MobiVari2(8, out_dim, expansion=1.2, groups=4), torch.randn(2, 8, 5, 6)
    e = F.leaky_relu(layer.exp_conv(x), 0.01)
    expected = layer.pw_conv(F.leaky_relu(layer.dw_conv(e) + e, 0.01))
    torch.testing.assert_close(layer(x), expected + x if out_dim == 8 else expected)
    assert layer.exp_conv.groups == 4
    assert layer.dw_conv.groups == layer.dw_conv.in_channels == 12  # int(8 * 1.2) = 9, raised to 12


def test_channels_must_divide_into_groups() -> None:
    with pytest.raises(ValueError, match="groups"):
        mobivari.MobiVari2(10, 10, expansion=1.2, groups=4)
