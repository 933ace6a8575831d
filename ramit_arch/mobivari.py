"""MobiVari: the MobileNet variations that RAMiT mixes features with."""

from torch import Tensor, nn

from ramit_arch.kernels import accelerated
from ramit_arch.layers import Pointwise, channels_first, channels_last, leaky_relu


class MobiVari(nn.Module):
    """Base of both versions: their layers, and the depthwise convolution of a channels-last map.

    Shape:
        (B, H, W, dim) -> (B, H, W, out_dim)
    """

    def __init__(self, dim: int, hidden_dim: int, out_dim: int) -> None:
        super().__init__()
        self.dw_conv = nn.Conv2d(hidden_dim, hidden_dim, 3, padding=1, groups=hidden_dim)
        self.pw_conv = Pointwise(hidden_dim, out_dim)
        self.residual = dim == out_dim

    def depthwise(self, x: Tensor) -> Tensor:
        """3x3 depthwise convolution: (B, H, W, hidden_dim) -> (B, H, W, hidden_dim)."""
        return channels_last(self.dw_conv(channels_first(x)))


class MobiVari1(MobiVari):
    """Depthwise then pointwise convolution, each activated: `y = act(pw(act(dw(x)) + x))`, plus x if shapes allow.

    Args:
        dim: Channels of the input.
        out_dim: Channels of the output; the input is added if they are as many.
    """

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__(dim, dim, out_dim)

    @accelerated("mobivari")
    def forward(self, x: Tensor) -> Tensor:
        y = leaky_relu(self.depthwise(x)) + x  # (B, H, W, dim)
        y = leaky_relu(self.pw_conv(y))  # (B, H, W, out_dim)
        return y + x if self.residual else y


class MobiVari2(MobiVari):
    """Expand by a grouped 1x1 convolution first: `e = act(exp(x))`, `y = pw(act(dw(e) + e))`, plus x if shapes allow.

    Args:
        dim: Channels of the input, a multiple of `groups`.
        out_dim: Channels of the output; the input is added if they are as many.
        expansion: Hidden channels as a multiple of `dim`, before `expanded_dim` rounds them up.
        groups: Groups of the expanding convolution.

    Raises:
        ValueError: The channels do not divide into the groups.
    """

    def __init__(self, dim: int, out_dim: int, *, expansion: float, groups: int) -> None:
        if dim % groups:
            raise ValueError(f"MobiVari: {dim} channels do not divide into {groups} groups")
        hidden_dim = expanded_dim(dim, expansion, groups)
        super().__init__(dim, hidden_dim, out_dim)
        self.exp_conv = Pointwise(dim, hidden_dim, groups=groups)

    @accelerated("mobivari")
    def forward(self, x: Tensor) -> Tensor:
        e = leaky_relu(self.exp_conv(x))  # (B, H, W, hidden_dim)
        y = self.pw_conv(leaky_relu(self.depthwise(e) + e))  # (B, H, W, out_dim)
        return y + x if self.residual else y


def expanded_dim(dim: int, expansion: float, groups: int) -> int:
    """Hidden channels of MobiVari 2: `int(dim * expansion)`, raised to the next higher multiple of `groups`.

    The published networks add a whole group even where the product is a multiple already.

    >>> expanded_dim(64, 1.2, 4), expanded_dim(256, 1.2, 4), expanded_dim(60, 2.0, 1)
    (80, 308, 121)
    """
    hidden_dim = int(dim * expansion)
    return hidden_dim + groups - hidden_dim % groups


def mobivari(dim: int, out_dim: int, *, version: int, expansion: float, groups: int) -> MobiVari:
    """Build the MobiVari of a version (1 or 2); version 1 has no expansion and no groups.

    Raises:
        ValueError: Another version, or channels that do not divide into the groups.
    """
    if version == 1:
        return MobiVari1(dim, out_dim)
    if version == 2:
        return MobiVari2(dim, out_dim, expansion=expansion, groups=groups)
    raise ValueError(f"mobivari version must be 1 or 2, not {version!r}")
