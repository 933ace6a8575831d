"""RAMiT, the Reciprocal Attention Mixing Transformer, from the top down.

Source: Choi et al., "Reciprocal Attention Mixing Transformer for Lightweight Image Restoration", CVPRW 2024,
arXiv 2305.11474. Module names are the keys of the published checkpoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ramit_arch.attention import ChannelAttention, SpatialAttention
from ramit_arch.kernels import add_norm
from ramit_arch.kernels.cpu import binding, inference
from ramit_arch.kernels.cpu.transform import transform
from ramit_arch.layout import channels_first, channels_last
from ramit_arch.mobivari import MobiVari, mobivari
from ramit_arch.normalisation import SR_MEAN, SR_STD, STATISTICS, Normalisation
from ramit_arch.pointwise import Pointwise
from ramit_arch.resolution import (
    cells_to_channels,
    pad_to_units,
    pixel_shuffle,
    to_full_size,
)
from ramit_arch.windows import Windows

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

TASKS = ("SR", "CDN", "GDN", "LLE", "DR")
"""Super-resolution, colour denoising, gray denoising, low-light enhancement, deraining."""

VARIANTS = ("RAMiT", "RAMiT-1", "RAMiT-slimSR", "RAMiT-slimLLE")

N_STAGES = 4
N_DOWNSIZINGS = N_STAGES - 2


@dataclass(frozen=True, kw_only=True)
class RAMiTSettings:
    """Every hyper-parameter of a RAMiT; the defaults are the published RAMiT for x2 super-resolution.

    Attributes:
        scale: Output size over input size; 1 also adds the input to the output.
        mean: Mean of each input channel over the training data, range 0..1. Its length is the number of channels.
        std: Standard deviation of each input channel over the training data, range 0..1.
        dim: Channels C, a multiple of 16 and of every stage's heads.
        depths: Blocks of each of the four stages.
        num_heads: Attention heads L of each stage, spatial and channel heads together.
        chsa_head_ratio: Share of the heads that attend between channels; `int(L * ratio)` of them, at least one.
        window_size: Window side M in pixels, even.
        hidden_ratio: Hidden channels of the feed-forward network over C.
        qkv_bias: Whether the projection to q, k, v has a bias.
        mobivari_version: 1 (no expansion) or 2.
        mobivari_expansion: Expansion of version 2 in blocks, downsizing and tail.
        mobivari_groups: Groups of its expanding convolution.
        neck_expansion: Expansion of version 2 in the bottleneck and in H-RAMi.
        neck_groups: Groups of its expanding convolution.
        helper: Whether each attention gates the values of the other kind in the next block (the reciprocal helper).
        tail_mobivaris: MobiVari layers before the reconstruction.
    """

    scale: int = 2
    mean: tuple[float, ...] = (0.4485, 0.4375, 0.4045)
    std: tuple[float, ...] = (0.2397, 0.2290, 0.2389)
    dim: int = 64
    depths: tuple[int, ...] = (6, 4, 4, 6)
    num_heads: tuple[int, ...] = (4, 4, 4, 4)
    chsa_head_ratio: float = 0.25
    window_size: int = 8
    hidden_ratio: float = 2.0
    qkv_bias: bool = True
    mobivari_version: int = 2
    mobivari_expansion: float = 1.2
    mobivari_groups: int = 4
    neck_expansion: float = 1.2
    neck_groups: int = 4
    helper: bool = True
    tail_mobivaris: int = 2

    def __post_init__(self) -> None:
        for name in ("mean", "std", "depths", "num_heads"):  # option files have lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("depths", "num_heads"):
            if len(getattr(self, name)) != N_STAGES or min(getattr(self, name)) < 1:
                raise ValueError(f"{name} must be {N_STAGES} positive numbers, not {list(getattr(self, name))}")
        if self.dim < 1 or self.dim % 4**N_DOWNSIZINGS:
            raise ValueError(f"dim must be a multiple of {4**N_DOWNSIZINGS}, not {self.dim}")
        for heads in self.num_heads:
            if self.dim % heads:
                raise ValueError(f"dim {self.dim} is no multiple of num_heads {heads}")
            if not 1 <= self.channel_heads(heads) < heads:
                raise ValueError(
                    f"chsa_head_ratio {self.chsa_head_ratio} of num_heads {heads} leaves no spatial or no channel head"
                )
        if self.window_size < 2 or self.window_size % 2:
            raise ValueError(f"window_size must be even and positive, not {self.window_size}")
        if self.scale < 1:
            raise ValueError(f"scale must be a positive integer, not {self.scale}")
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise ValueError(f"mean {list(self.mean)} and std {list(self.std)} must name each channel, std above 0")

    def channel_heads(self, heads: int) -> int:
        """How many of `heads` attend between channels."""
        return int(heads * self.chsa_head_ratio)


VARIANT_SETTINGS: dict[str, dict[str, Any]] = {
    "RAMiT": {},
    "RAMiT-1": {"mobivari_version": 1},
    "RAMiT-slimSR": {"dim": 48, "depths": (8, 2, 2, 8), "neck_expansion": 2.0, "neck_groups": 1},
    "RAMiT-slimLLE": {"dim": 48, "depths": (4, 2, 2, 4), "neck_groups": 3},
}
"""What each variant changes of RAMiT."""


def ramit_settings(variant: str = "RAMiT", task: str = "SR", scale: int | None = None) -> RAMiTSettings:
    """The published settings of a variant for a task.

    Args:
        variant: One of `VARIANTS`; any variant may be combined with any task.
        task: One of `TASKS`.
        scale: 2, 3 or 4 for SR; other SR scales use the statistics of x4. The other tasks have scale 1.

    Raises:
        ValueError: Unknown variant or task, or a scale that does not fit the task.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(VARIANTS)}")
    if task not in TASKS:
        raise ValueError(f"task {task!r} is unknown; choose one of {', '.join(TASKS)}")
    mean: tuple[float, ...]
    std: tuple[float, ...]
    if task == "SR":
        if scale is None or scale < 2:
            raise ValueError(f"task SR needs scale: 2, 3 or 4, not {scale}")
        mean, std = SR_MEAN, SR_STD.get(scale, SR_STD[4])
    else:
        if scale not in (None, 1):
            raise ValueError(f"task {task} keeps the size: scale must be 1, not {scale}")
        mean, std = STATISTICS[task]
    helper = task in ("SR", "LLE")
    return RAMiTSettings(scale=scale or 1, mean=mean, std=std, helper=helper, **VARIANT_SETTINGS[variant])


@ARCH_REGISTRY.register()
class RAMiT(nn.Module):
    """RAMiT and its variants: `network_g: {type: RAMiT, variant: RAMiT-slimSR, task: SR, scale: 4}`.

    `variant`, `task` and `scale` choose the published settings; each further argument replaces one of them (see
    `RAMiTSettings` for their meaning). The output is not clamped.

    Args:
        variant: RAMiT, RAMiT-1, RAMiT-slimSR or RAMiT-slimLLE.
        task: SR, CDN, GDN, LLE or DR.
        scale: 2, 3 or 4 for SR; 1 (or left out) for the other tasks.

    Raises:
        ValueError: Settings that are unknown or do not fit together.

    Shape:
        (B, C_in, H, W), range 0..1 -> (B, C_in, H * scale, W * scale), any H and W from 1 up. C_in: 1 for GDN, else 3.
    """

    def __init__(
        self,
        *,
        variant: str = "RAMiT",
        task: str = "SR",
        scale: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dim: int | None = None,
        depths: Sequence[int] | None = None,
        num_heads: Sequence[int] | None = None,
        chsa_head_ratio: float | None = None,
        window_size: int | None = None,
        hidden_ratio: float | None = None,
        qkv_bias: bool | None = None,
        mobivari_version: int | None = None,
        mobivari_expansion: float | None = None,
        mobivari_groups: int | None = None,
        neck_expansion: float | None = None,
        neck_groups: int | None = None,
        helper: bool | None = None,
        tail_mobivaris: int | None = None,
    ) -> None:
        super().__init__()
        overrides = dict(
            mean=mean, std=std, dim=dim, depths=depths, num_heads=num_heads, chsa_head_ratio=chsa_head_ratio,
            window_size=window_size, hidden_ratio=hidden_ratio, qkv_bias=qkv_bias, mobivari_version=mobivari_version,
            mobivari_expansion=mobivari_expansion, mobivari_groups=mobivari_groups, neck_expansion=neck_expansion,
            neck_groups=neck_groups, helper=helper, tail_mobivaris=tail_mobivaris,
        )  # fmt: skip
        given: dict[str, Any] = {name: value for name, value in overrides.items() if value is not None}
        s = self.settings = replace(ramit_settings(variant, task, scale), **given)
        self.scale, self.in_channels = s.scale, len(s.mean)
        self.size_unit = s.window_size * 2**N_DOWNSIZINGS
        """The network works on multiples of this many pixels; other sizes are padded inside and cropped."""

        self.normalisation = Normalisation(s.mean, s.std)
        self.shallow = Shallow(self.in_channels, s.dim)
        self.stage1 = Stage(s, 0)
        self.down1 = Downsizing(s)
        self.stage2 = Stage(s, 1)
        self.down2 = Downsizing(s)
        self.stage3 = Stage(s, 2)
        self.bottleneck = Bottleneck(s)
        self.stage4 = Stage(s, 3)
        self.attn_mix = HierarchicalMixing(s)
        self.to_target = Reconstruction(s)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        # Zeros go in before the normalisation: the padding is black.
        x = self.normalisation(pad_to_units(x, self.size_unit))

        s = channels_last(self.shallow(x))  # (B, H, W, C), as all maps inside
        o1, a1 = self.stage1(s)
        o2, a2 = self.stage2(self.down1(o1))  # (B, H/2, W/2, C)
        o3, a3 = self.stage3(self.down2(o2))  # (B, H/4, W/4, C)
        o4, a4 = self.stage4(self.bottleneck(s, o1, o2, o3))
        y = self.to_target(torch.addcmul(s, o4, self.attn_mix(a1, a2, a3, a4)))
        if self.scale == 1:
            y = y + x

        y = self.normalisation.inverse(y)
        return y[..., : height * self.scale, : width * self.scale]


class Shallow(nn.Module):
    """3x3 convolution to the network's width: (B, C_in, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.contiguous(memory_format=torch.channels_last))


class Stage(nn.Module):
    """D-RAMiT blocks in a row; every second one shifts its windows. Each block hands its attentions to the next.

    With `checkpointing` set, a training keeps only what a block takes in, and computes the rest anew for the gradients.

    Shape:
        (B, H, W, C) -> output and mixed attention of the last block, each (B, H, W, C)
    """

    checkpointing = False

    def __init__(self, s: RAMiTSettings, stage: int) -> None:
        super().__init__()
        self.window_size = s.window_size
        self.blocks = nn.ModuleDict({f"block{i}": DRAMiTBlock(s, s.num_heads[stage]) for i in range(s.depths[stage])})

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        windows = [Windows(x, self.window_size, shift) for shift in (0, self.window_size // 2)]
        attentions = None
        a = x
        for i, block in enumerate(self.blocks.values()):
            arguments = x, attentions, windows[i % 2], i == len(self.blocks) - 1
            if self.checkpointing and torch.is_grad_enabled():
                x, attentions, a = checkpoint(block, *arguments, use_reentrant=False, preserve_rng_state=False)
            else:
                x, attentions, a = block(*arguments)
        return x, a


class DRAMiTBlock(nn.Module):
    """Dimensional reciprocal attention mixing block, post-norm residual.

    Spatial and channel attention work side by side on their own heads of one q, k, v projection; MobiVari mixes them.
    """

    def __init__(self, s: RAMiTSettings, heads: int) -> None:
        super().__init__()
        head_dim, channel_heads = s.dim // heads, s.channel_heads(heads)
        spatial_heads = heads - channel_heads
        self.helper = s.helper
        self.channel_heads, self.window_size = channel_heads, s.window_size
        self.fused = inference.knows(s.dim, spatial_heads, channel_heads)
        self.parts = [spatial_heads * head_dim, channel_heads * head_dim]
        self.qkv_proj = QKVProjection(s.dim, spatial_heads, channel_heads, bias=s.qkv_bias)
        self.sp_attn = SpatialAttention(spatial_heads, head_dim, window_size=s.window_size)
        self.ch_attn = ChannelAttention(channel_heads, head_dim)
        self.mobivari = block_mobivari(s, s.dim)
        self.norm1 = ChannelNorm(s.dim)
        self.ffn = FeedForward(s.dim, int(s.dim * s.hidden_ratio))
        self.norm2 = ChannelNorm(s.dim)

    def forward(
        self, x: Tensor, attentions: Tensor | None, windows: Windows, last: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mix two attentions into `x`.

        Args:
            x: (B, H, W, C)
            attentions: Spatial, then channel attention of the previous block, (B, H, W, C); None in the first.
            windows: Where the windows of this block lie.
            last: Whether the mix of the attentions is wanted.

        Returns:
            The block's output, its attentions, and their mix (or anything, unless wanted), (B, H, W, C).
        """
        helpers = attentions if self.helper else None
        fits = binding.fits(x, *self.mobivari.channels, self.ffn.hidden.out_channels, side=self.window_size)
        fused = fits and self.fused and not torch.is_grad_enabled()
        attentions = self._attend_fused(x, helpers, windows.shift) if fused else self._attend(x, helpers, windows)
        if fits:
            x, a = transform(attentions, x, *self.mobivari.layers(), self._norms_and_ffn(), last)
            return x, attentions, a
        a = self.mobivari(attentions)
        x = self.norm1(a, x)
        return self.norm2(self.ffn(x), x), attentions, a

    def _attend(self, x: Tensor, helpers: Tensor | None, windows: Windows) -> Tensor:
        sp_gate = ch_gate = None
        if helpers is not None:
            sp, ch = helpers.split(self.parts, dim=-1)
            sp_gate = windows.gather(ch.unflatten(-1, (self.channel_heads, -1)).mean(-2))
            ch_gate = sp.mean(-1, keepdim=True)
        rows = [3 * channels for channels in self.parts]
        # Weight and bias of spatial and of channel heads.
        of_sp, of_ch = zip(*(layer.split(rows) for layer in self.qkv_proj.ordered()), strict=True)
        sp = self.sp_attn(F.linear(windows.gather(x), *of_sp), windows, sp_gate)
        ch = self.ch_attn(F.linear(x, *of_ch), ch_gate)
        return torch.cat([sp, ch], dim=-1)

    def _attend_fused(self, x: Tensor, helpers: Tensor | None, shift: int) -> Tensor:
        sp, ch = self.sp_attn, self.ch_attn
        spatial, channel = [sp.scale(), sp.bias(), *sp.proj.matrix()], [ch.scale(), *ch.proj.matrix()]
        return inference.attend(x, helpers, self.qkv_proj.ordered(), spatial, channel, shift)

    def _norms_and_ffn(self) -> list[Tensor]:
        norm1, norm2, ffn = self.norm1.norm, self.norm2.norm, self.ffn
        return [norm1.weight, norm1.bias, *ffn.hidden.matrix(), *ffn.out.matrix(), norm2.weight, norm2.bias]


class QKVProjection(nn.Module):
    """Linear map to queries, keys and values of every head; the published weights have them head by head."""

    order: Tensor

    def __init__(self, dim: int, spatial_heads: int, channel_heads: int, *, bias: bool) -> None:
        super().__init__()
        self.qkv = Pointwise(dim, 3 * dim, bias=bias)
        rows = torch.arange(3 * dim).view(spatial_heads + channel_heads, 3, -1)
        order = [heads.transpose(0, 1).flatten() for heads in rows.split([spatial_heads, channel_heads])]
        self.register_buffer("order", torch.cat(order), persistent=False)

    def ordered(self) -> list[Tensor]:
        """Weight (3C, C) and bias (3C), if any: q, k, v of all spatial heads first, then those of all channel heads."""
        return [layer[self.order] for layer in self.qkv.matrix()]


class FeedForward(nn.Module):
    """Two linear maps around an exact GELU: (..., C) -> (..., C)."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.hidden = Pointwise(dim, hidden_dim)
        self.out = Pointwise(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.gelu(self.hidden(x)))


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel, eps 1e-5: (..., C) -> (..., C), added to any `residual`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        if residual is None:
            return self.norm(x)
        return add_norm(residual, x, self.norm.weight, self.norm.bias)


class Downsizing(nn.Module):
    """Halve height and width: 2x2 cells to channels, norm, MobiVari. (B, H, W, C) -> (B, H/2, W/2, C)."""

    def __init__(self, s: RAMiTSettings) -> None:
        super().__init__()
        self.norm = ChannelNorm(4 * s.dim)
        self.reduction = block_mobivari(s, 4 * s.dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(self.norm(cells_to_channels(x)))


class Bottleneck(nn.Module):
    """Bring the outputs of the first three stages to full size and mix them.

    Shape:
        s, o1 (B, H, W, C), o2 (B, H/2, W/2, C), o3 (B, H/4, W/4, C) -> (B, H, W, C)
    """

    def __init__(self, s: RAMiTSettings) -> None:
        super().__init__()
        self.mobivari = neck_mobivari(s, s.dim + s.dim // 4 + s.dim // 16)
        self.norm = ChannelNorm(s.dim)

    def forward(self, s: Tensor, o1: Tensor, o2: Tensor, o3: Tensor) -> Tensor:
        return self.norm(self.mobivari(to_full_size(s, (o1, o2, o3))))


class HierarchicalMixing(nn.Module):
    """H-RAMi: mix the attentions of the four stages at full size.

    Shape:
        a1, a4 (B, H, W, C), a2 (B, H/2, W/2, C), a3 (B, H/4, W/4, C) -> (B, H, W, C)
    """

    def __init__(self, s: RAMiTSettings) -> None:
        super().__init__()
        self.mobivari = neck_mobivari(s, s.dim + s.dim // 4 + s.dim // 16 + s.dim)

    def forward(self, a1: Tensor, a2: Tensor, a3: Tensor, a4: Tensor) -> Tensor:
        return self.mobivari(torch.cat([a1, pixel_shuffle(a2, 2), pixel_shuffle(a3, 4), a4], dim=-1))


class Reconstruction(nn.Module):
    """Features to the image: MobiVari layers, 3x3 convolution, pixel shuffle, 3x3 convolution.

    Shape:
        (B, H, W, C) -> (B, C_out, H * scale, W * scale)
    """

    def __init__(self, s: RAMiTSettings) -> None:
        super().__init__()
        channels = len(s.mean)
        self.scale = s.scale
        self.mobivari = nn.ModuleDict({f"mobivari{i}": block_mobivari(s, s.dim) for i in range(s.tail_mobivaris)})
        self.conv = nn.Conv2d(s.dim, channels * s.scale**2, 3, padding=1)
        self.final_conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.mobivari.values():
            x = layer(x)
        return self.final_conv(F.pixel_shuffle(self.conv(channels_first(x)), self.scale))


def block_mobivari(s: RAMiTSettings, dim: int) -> MobiVari:
    """MobiVari from `dim` channels to the network's width, as blocks, downsizing and tail use it."""
    return mobivari(dim, s.dim, version=s.mobivari_version, expansion=s.mobivari_expansion, groups=s.mobivari_groups)


def neck_mobivari(s: RAMiTSettings, dim: int) -> MobiVari:
    """MobiVari from `dim` channels to the network's width, as the bottleneck and H-RAMi use it."""
    return mobivari(dim, s.dim, version=s.mobivari_version, expansion=s.neck_expansion, groups=s.neck_groups)
