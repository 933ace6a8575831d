"""MobiVari: the MobileNet variations that RAMiT mixes features with."""

from torch import Tensor, nn
from torch.nn import functional as F


def leaky_relu(x: Tensor) -> Tensor:
    """LeakyReLU of slope 0.01, the activation of every MobiVari."""
    return F.leaky_relu(x, 0.01)


class MobiVari1(nn.Module):
    """Depthwise then pointwise convolution, each with a residual: `act(pw(act(dw(x)) + x))`.

    The input is added to the output when `dim == out_dim`.

    Args:
        dim: Channels of the input.
        out_dim: Channels of the output.
        kernel_size: Side of the depthwise kernel, odd.

    Shape:
        (B, dim, H, W) -> (B, out_dim, H, W)
    """

    def __init__(self, dim: int, out_dim: int, *, kernel_size: int = 3) -> None:
        super().__init__()
        self.dw_conv = nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.pw_conv = nn.Conv2d(dim, out_dim, 1)
        self.residual = dim == out_dim

    def forward(self, x: Tensor) -> Tensor:
        y = leaky_relu(self.dw_conv(x)) + x
        y = leaky_relu(self.pw_conv(y))
        return y + x if self.residual else y


class MobiVari2(nn.Module):
    """Expand by a grouped 1x1 convolution, then depthwise and pointwise: `pw(act(dw(e) + e))`, `e = act(exp(x))`.

    The input is added to the output when `dim == out_dim`.

    Args:
        dim: Channels of the input, a multiple of `groups`.
        out_dim: Channels of the output.
        expansion: Hidden channels as a multiple of `dim`, before `expanded_dim` rounds them up.
        groups: Groups of the expanding convolution.
        kernel_size: Side of the depthwise kernel, odd.

    Shape:
        (B, dim, H, W) -> (B, out_dim, H, W)
    """

    def __init__(self, dim: int, out_dim: int, *, expansion: float, groups: int, kernel_size: int = 3) -> None:
        super().__init__()
        if dim % groups:
            raise ValueError(f"MobiVari: {dim} channels do not divide into {groups} groups")
        hidden = expanded_dim(dim, expansion, groups)
        self.exp_conv = nn.Conv2d(dim, hidden, 1, groups=groups)
        self.dw_conv = nn.Conv2d(hidden, hidden, kernel_size, padding=kernel_size // 2, groups=hidden)
        self.pw_conv = nn.Conv2d(hidden, out_dim, 1)
        self.residual = dim == out_dim

    def forward(self, x: Tensor) -> Tensor:
        e = leaky_relu(self.exp_conv(x))
        y = self.pw_conv(leaky_relu(self.dw_conv(e) + e))
        return y + x if self.residual else y


def expanded_dim(dim: int, expansion: float, groups: int) -> int:
    """Hidden channels of MobiVari 2: `int(dim * expansion)`, raised to the next higher multiple of `groups`.

    The published networks add a whole group even where the product is a multiple already.

    >>> expanded_dim(64, 1.2, 4), expanded_dim(256, 1.2, 4), expanded_dim(60, 2.0, 1)
    (80, 308, 121)
    """
    hidden = int(dim * expansion)
    return hidden + groups - hidden % groups


def mobivari(dim: int, out_dim: int, *, version: int, expansion: float, groups: int) -> nn.Module:
    """Build the MobiVari of the given version (1 or 2); version 1 has no expansion and no groups."""
    if version == 1:
        return MobiVari1(dim, out_dim)
    if version == 2:
        return MobiVari2(dim, out_dim, expansion=expansion, groups=groups)
    raise ValueError(f"mobivari version must be 1 or 2, not {version!r}")
