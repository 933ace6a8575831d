"""RAMiT, the Reciprocal Attention Mixing Transformer, from the top down.

Source: Choi et al., "Reciprocal Attention Mixing Transformer for Lightweight Image Restoration", CVPRW 2024,
arXiv 2305.11474. Module names are the keys of the published checkpoints.
"""

import inspect
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ramit_arch.attention import ChannelAttention, SpatialAttention
from ramit_arch.bands import in_bands, saves_memory
from ramit_arch.kernels import accelerated
from ramit_arch.layers import (
    BlockOutput,
    ChannelNorm,
    FeedForward,
    Normalisation,
    Pointwise,
    cells_to_channels,
    channels_first,
    channels_last,
    pad_to_multiple,
    pixel_shuffle,
    to_full_size,
)
from ramit_arch.mobivari import MobiVari, mobivari
from ramit_arch.settings import N_DOWNSIZINGS, RAMiTSettings, ramit_settings


class RAMiT(nn.Module):
    """RAMiT and its variants: `network_g: {type: RAMiT, variant: RAMiT-slimSR, task: SR, scale: 4}`.

    `variant`, `task` and `scale` choose the published settings. The output is not clamped.

    Args:
        variant: RAMiT, RAMiT-1, RAMiT-slimSR or RAMiT-slimLLE.
        task: SR, CDN, GDN, LLE or DR.
        scale: 2, 3 or 4 for SR; 1 (or left out) for the other tasks.
        changes: Further fields of `RAMiTSettings` that replace the published ones.

    Raises:
        TypeError: An argument is not a field of `RAMiTSettings`.
        ValueError: Settings that are unknown or do not fit together.

    Shape:
        (B, C_in, H, W), range 0..1 -> (B, C_in, H * scale, W * scale), any H and W from 1 up. C_in: 1 for GDN, else 3.
    """

    def __init__(self, *, variant: str = "RAMiT", task: str = "SR", scale: int | None = None, **changes: Any) -> None:
        super().__init__()
        s = self.settings = ramit_settings(variant, task, scale, **changes)
        self.scale, self.in_channels = s.scale, len(s.mean)
        self.arguments = {"variant": variant, "task": task, "scale": s.scale, **changes}
        self.register_state_dict_post_hook(_state_arguments)  # type: ignore[no-untyped-call]
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
        self.attn_mix = HRAMi(s)
        self.to_target = Reconstruction(s)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        # Zeros go in before the normalisation: the padding is black.
        x = self.normalisation(pad_to_multiple(x, self.size_unit))

        s = channels_last(self.shallow(x))  # (B, H, W, C), as all maps inside
        o1, a1 = self.stage1(s, overwrite=False)
        o2, a2 = self.stage2(in_bands(self.down1, o1, factor=2))  # (B, H/2, W/2, C)
        o3, a3 = self.stage3(in_bands(self.down2, o2, factor=2))  # (B, H/4, W/4, C)
        b = in_bands(self.bottleneck, s, o1, o2, o3)  # (B, H, W, C)
        del o1, o2, o3
        o4, a4 = self.stage4(b)
        y = in_bands(self.tail, s, o4, a1, a2, a3, a4, channels_first=True)
        if self.scale == 1:
            y = y + x

        y = self.normalisation.inverse(y)
        return y[..., : height * self.scale, : width * self.scale]

    def tail(self, s: Tensor, o4: Tensor, a1: Tensor, a2: Tensor, a3: Tensor, a4: Tensor) -> Tensor:
        """H-RAMi and reconstruction: maps of the stages -> (B, C_out, H * scale, W * scale), normalised."""
        m = self.attn_mix(a1, a2, a3, a4)  # (B, H, W, C)
        return self.to_target(torch.addcmul(s, o4, m))  # o4 * m + s in one pass over memory


def _state_arguments(network: RAMiT, state_dict: dict[str, Any], prefix: str, _: Any) -> None:
    """Note the arguments in the metadata of a state dict, for statistics and reciprocal helper have no parameters."""
    metadata = getattr(state_dict, "_metadata", {}).get(prefix[:-1])
    if metadata is not None:
        metadata["network_g"] = {"type": type(network).__name__, **network.arguments}


# The fields of the settings are arguments, too: option checks and editors ask for the signature.
_FIELDS = [field.name for field in fields(RAMiTSettings) if field.name != "scale"]
RAMiT.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in {"variant": "RAMiT", "task": "SR", "scale": None, **dict.fromkeys(_FIELDS)}.items()
    ]
)


class Shallow(nn.Module):
    """3x3 convolution to the network's width: (B, C_in, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.contiguous(memory_format=torch.channels_last))


class Stage(nn.Module):
    """D-RAMiT blocks in a row, every second one with shifted windows. Each block hands its attentions to the next.

    With `checkpointing` set, training keeps the inputs of the blocks only and recomputes the rest for the gradients.

    Shape:
        (B, H, W, C) -> output and mixed attention of the last block, each (B, H, W, C)
    """

    checkpointing = False

    def __init__(self, s: RAMiTSettings, stage: int) -> None:
        super().__init__()
        depth, heads = s.depths[stage], s.num_heads[stage]
        self.blocks = nn.ModuleDict(
            {
                f"block{i}": DRAMiTBlock(s, heads, shift=s.window_size // 2 if i % 2 else 0, last=i == depth - 1)
                for i in range(depth)
            }
        )

    def forward(self, x: Tensor, *, overwrite: bool = True) -> tuple[Tensor, Tensor]:
        """Run the blocks.

        Args:
            x: Input.
            overwrite: Whether a large input may be overwritten where there are no gradients.
        """
        attentions = None
        mixed = x
        saves = saves_memory(x)
        for i, block in enumerate(self.blocks.values()):
            if saves:
                x, attentions, mixed = block(x, attentions, overwrite or i > 0)
            elif self.checkpointing and torch.is_grad_enabled():
                x, attentions, mixed = checkpoint(block, x, attentions, use_reentrant=False, preserve_rng_state=False)
            else:
                x, attentions, mixed = block(x, attentions)
        return x, mixed


class DRAMiTBlock(nn.Module):
    """Dimensional Reciprocal Attention Mixing Transformer block, with post-norm residuals.

    Spatial and channel attention work side by side on their own heads of one q, k, v projection; MobiVari mixes them.

    Args:
        s: The network's settings.
        heads: Attention heads L, spatial and channel heads together.
        shift: Cyclic shift of the windows in pixels, 0 or M / 2.
        last: Whether it is the last block of its stage, whose mixed attention goes to H-RAMi.
    """

    def __init__(self, s: RAMiTSettings, heads: int, *, shift: int, last: bool) -> None:
        super().__init__()
        head_dim, ch_heads = s.dim // heads, s.channel_heads(heads)
        sp_heads = heads - ch_heads
        self.helper, self.last = s.helper, last
        self.attention_dims = [sp_heads * head_dim, ch_heads * head_dim]
        self.qkv_dims = [3 * dim for dim in self.attention_dims]
        self.qkv_proj = QKVProjection(s.dim, bias=s.qkv_bias)
        self.sp_attn = SpatialAttention(sp_heads, head_dim, window_size=s.window_size, shift=shift)
        self.ch_attn = ChannelAttention(ch_heads, head_dim)
        self.mobivari = block_mobivari(s, s.dim)
        self.norm1 = ChannelNorm(s.dim)
        self.ffn = FeedForward(s.dim, int(s.dim * s.hidden_ratio))
        self.norm2 = ChannelNorm(s.dim)

    @accelerated("block")
    def forward(self, x: Tensor, previous: Tensor | None = None, overwrite: bool = False) -> BlockOutput:
        """Attend, mix, transform.

        Args:
            x: (B, H, W, C)
            previous: `attentions` of the previous block, (B, H, W, C); None in the first block of a stage.
            overwrite: Whether kernels may put their results in the place of `x`, and of `previous` in any case where
                there are no gradients and maps are large.
        """
        previous_sp = previous_ch = None
        if self.helper and previous is not None:
            previous_sp, previous_ch = previous.split(self.attention_dims, dim=-1)
        sp_qkv, ch_qkv = self.qkv_proj(x).split(self.qkv_dims, dim=-1)  # (B, H, W, 3*L_sp*d), (B, H, W, 3*L_ch*d)
        sp = self.sp_attn(sp_qkv, previous_ch)  # (B, H, W, L_sp*d)
        ch = self.ch_attn(ch_qkv, previous_sp)  # (B, H, W, L_ch*d)
        attentions = torch.cat([sp, ch], dim=-1)  # (B, H, W, C)
        a = self.mobivari(attentions)  # (B, H, W, C)
        x = x + self.norm1(a)
        x = x + self.norm2(self.ffn(x))
        return BlockOutput(x, attentions, a if self.last else None)


class QKVProjection(nn.Module):
    """Linear map to q, k and v of the first head, then of the second, ...: (B, H, W, C) -> (B, H, W, 3C)."""

    def __init__(self, dim: int, *, bias: bool) -> None:
        super().__init__()
        self.qkv = Pointwise(dim, 3 * dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.qkv(x)


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


class HRAMi(nn.Module):
    """H-RAMi, hierarchical reciprocal attention mixing: the mixed attentions of the four stages, at full size.

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
