"""MobiVari: the MobileNet variations that RAMiT mixes features with."""

from ramit_arch.kernels.cpu import binding
from ramit_arch.kernels.cpu.transform import mix
from ramit_arch.layout import channels_first, channels_last
from ramit_arch.pointwise import Pointwise

from torch import Tensor, nn
from torch.nn import functional as F


def leaky_relu(x: Tensor) -> Tensor:
    """LeakyReLU of slope 0.01, the activation of every MobiVari."""
    return F.leaky_relu(x, 0.01)


class MobiVari(nn.Module):
    """What both versions share.

    Shape:
        (B, H, W, dim) -> (B, H, W, out_dim)
    """

    def __init__(self, dim: int, hidden: int, out_dim: int) -> None:
        super().__init__()
        self.channels = dim, hidden, out_dim
        self.dw_conv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.pw_conv = Pointwise(hidden, out_dim)
        self.residual = dim == out_dim

    def forward(self, x: Tensor) -> Tensor:
        return mix(x, *self.layers()) if binding.fits(x, *self.channels) else self._plain(x)

    def layers(self) -> tuple[list[Tensor], list[Tensor], list[Tensor], int]:
        """Weights as the kernels take them."""
        dw, pw = self.dw_conv, self.pw_conv
        return [], [dw.weight, *([] if dw.bias is None else [dw.bias])], pw.matrix(), 0

    def _plain(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _depthwise(self, x: Tensor) -> Tensor:
        return channels_last(self.dw_conv(channels_first(x)))


class MobiVari1(MobiVari):
    """Depthwise then pointwise convolution, each with a residual: `act(pw(act(dw(x)) + x))`.

    The input is added to the output when `dim == out_dim`.

    Args:
        dim: Channels of the input.
        out_dim: Channels of the output.
    """

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__(dim, dim, out_dim)

    def _plain(self, x: Tensor) -> Tensor:
        y = leaky_relu(self.pw_conv(leaky_relu(self._depthwise(x)) + x))
        return y + x if self.residual else y


class MobiVari2(MobiVari):
    """Expand by a grouped 1x1 convolution, then depthwise and pointwise: `pw(act(dw(e) + e))`, `e = act(exp(x))`.

    The input is added to the output when `dim == out_dim`.

    Args:
        dim: Channels of the input, a multiple of `groups`.
        out_dim: Channels of the output.
        expansion: Hidden channels as a multiple of `dim`, before `expanded_dim` rounds them up.
        groups: Groups of the expanding convolution.
    """

    def __init__(self, dim: int, out_dim: int, *, expansion: float, groups: int) -> None:
        if dim % groups:
            raise ValueError(f"MobiVari: {dim} channels do not divide into {groups} groups")
        hidden = expanded_dim(dim, expansion, groups)
        super().__init__(dim, hidden, out_dim)
        self.exp_conv = Pointwise(dim, hidden, groups=groups)

    def layers(self) -> tuple[list[Tensor], list[Tensor], list[Tensor], int]:
        _, dw, pw, _ = super().layers()
        return self.exp_conv.matrix(), dw, pw, self.exp_conv.groups

    def _plain(self, x: Tensor) -> Tensor:
        e = leaky_relu(self.exp_conv(x))
        y = self.pw_conv(leaky_relu(self._depthwise(e) + e))
        return y + x if self.residual else y


def expanded_dim(dim: int, expansion: float, groups: int) -> int:
    """Hidden channels of MobiVari 2: `int(dim * expansion)`, raised to the next higher multiple of `groups`.

    The published networks add a whole group even where the product is a multiple already.

    >>> expanded_dim(64, 1.2, 4), expanded_dim(256, 1.2, 4), expanded_dim(60, 2.0, 1)
    (80, 308, 121)
    """
    hidden = int(dim * expansion)
    return hidden + groups - hidden % groups


def mobivari(dim: int, out_dim: int, *, version: int, expansion: float, groups: int) -> MobiVari:
    """Build the MobiVari of the given version (1 or 2); version 1 has no expansion and no groups."""
    if version == 1:
        return MobiVari1(dim, out_dim)
    if version == 2:
        return MobiVari2(dim, out_dim, expansion=expansion, groups=groups)
    raise ValueError(f"mobivari version must be 1 or 2, not {version!r}")
