"""RAMiT as its definition reads, with no thought of speed: the yardstick for what the networks compute and how fast.

Everything is written channels first, one step of the definition a line; nothing is fused, reused or worked in place.
The module names are those of the published checkpoints, so the weights of one load into the other.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ramit_arch import RAMiTSettings, ramit_settings


class LiteralRAMiT(nn.Module):
    """The whole: (B, C_in, H, W) in 0..1 -> (B, C_in, H * scale, W * scale)."""

    def __init__(self, variant: str = "RAMiT", task: str = "SR", scale: int | None = None) -> None:
        super().__init__()
        s = self.settings = ramit_settings(variant, task, scale)
        self.scale, self.in_channels, self.size_unit = s.scale, len(s.mean), 4 * s.window_size
        self.shallow = Shallow(self.in_channels, s.dim)
        self.stage1, self.stage2, self.stage3, self.stage4 = (Stage(s, i) for i in range(4))
        self.down1, self.down2 = Down(s), Down(s)
        self.bottleneck = Bottleneck(s)
        self.attn_mix = AttentionMix(s)
        self.to_target = ToTarget(s)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        mean = torch.tensor(self.settings.mean).to(x).view(1, -1, 1, 1)
        std = torch.tensor(self.settings.std).to(x).view(1, -1, 1, 1)
        x = F.pad(x, (0, -width % self.size_unit, 0, -height % self.size_unit))
        x = (x - mean) / std
        s = self.shallow(x)
        o1, a1 = self.stage1(s)
        o2, a2 = self.stage2(self.down1(o1))
        o3, a3 = self.stage3(self.down2(o2))
        o4, a4 = self.stage4(self.bottleneck(s, o1, o2, o3))
        y = self.to_target(o4 * self.attn_mix(a1, a2, a3, a4) + s)
        if self.scale == 1:
            y = y + x
        y = y * std + mean
        return y[..., : height * self.scale, : width * self.scale]


class Shallow(nn.Module):
    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Stage(nn.Module):
    def __init__(self, s: RAMiTSettings, stage: int) -> None:
        super().__init__()
        heads = s.num_heads[stage]
        shifts = [s.window_size // 2 if i % 2 else 0 for i in range(s.depths[stage])]
        self.blocks = nn.ModuleDict({f"block{i}": Block(s, heads, shift) for i, shift in enumerate(shifts)})

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        sp = ch = None
        for block in self.blocks.values():
            x, sp, ch, a = block(x, sp, ch)
        return x, a


class Block(nn.Module):
    def __init__(self, s: RAMiTSettings, heads: int, shift: int) -> None:
        super().__init__()
        d, ch_heads = s.dim // heads, int(heads * s.chsa_head_ratio)
        sp_heads = heads - ch_heads
        self.split = [3 * d * sp_heads, 3 * d * ch_heads]
        self.helper = s.helper
        self.qkv_proj = QKV(s.dim, s.qkv_bias)
        self.sp_attn = SpatialAttention(sp_heads, ch_heads, d, s.window_size, shift)
        self.ch_attn = ChannelAttention(ch_heads, d)
        self.mobivari = mobivari(s.dim, s, s.mobivari_expansion, s.mobivari_groups)
        self.norm1 = Norm(s.dim)
        self.ffn = FFN(s.dim, int(s.dim * s.hidden_ratio))
        self.norm2 = Norm(s.dim)

    def forward(self, x: Tensor, sp: Tensor | None, ch: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        sp_qkv, ch_qkv = self.qkv_proj(x).split(self.split, dim=1)
        helped = self.helper and sp is not None
        new_sp = self.sp_attn(sp_qkv, ch if helped else None)
        new_ch = self.ch_attn(ch_qkv, sp if helped else None)
        a = self.mobivari(torch.cat([new_sp, new_ch], dim=1))
        x = x + self.norm1(a)
        x = x + self.norm2(self.ffn(x))
        return x, new_sp, new_ch, a


class QKV(nn.Module):
    def __init__(self, dim: int, bias: bool) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.qkv(x)


class SpatialAttention(nn.Module):
    def __init__(self, heads: int, ch_heads: int, d: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.ch_heads, self.d, self.window, self.shift = heads, ch_heads, d, window, shift
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        pixels = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        offset = pixels[:, :, None] - pixels[:, None, :] + window - 1
        self.register_buffer("relative_position_index", offset[0] * (2 * window - 1) + offset[1])
        self.proj = nn.Conv2d(heads * d, heads * d, 1)

    def forward(self, qkv: Tensor, ch: Tensor | None) -> Tensor:
        height, width = qkv.shape[-2:]
        q, k, v = self.to_windows(qkv, 3 * self.heads).unflatten(2, (self.heads, 3)).unbind(3)
        if ch is not None:
            v = v * self.to_windows(ch, self.ch_heads).mean(2, keepdim=True)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        scores = q @ k.transpose(-2, -1)  # (B, windows, heads, M^2, M^2)
        scores = scores * self.logit_scale.clamp(max=math.log(100.0)).exp()
        scores = scores + self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        y = self.from_windows(scores.softmax(dim=-1) @ v, height, width)
        y = self.proj(y)
        return y.roll((self.shift, self.shift), (-2, -1)) if self.shift else y

    def to_windows(self, x: Tensor, heads: int) -> Tensor:
        """(B, heads*d, H, W) -> (B, windows, heads, M^2, d), after the shift."""
        m = self.window
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (-2, -1))
        batch, _, height, width = x.shape
        x = x.view(batch, heads, self.d, height // m, m, width // m, m)
        return x.permute(0, 3, 5, 1, 4, 6, 2).reshape(batch, -1, heads, m * m, self.d)

    def from_windows(self, x: Tensor, height: int, width: int) -> Tensor:
        """(B, windows, heads, M^2, d) -> (B, heads*d, H, W), still shifted."""
        m, batch = self.window, len(x)
        x = x.view(batch, height // m, width // m, self.heads, m, m, self.d)
        return x.permute(0, 3, 6, 1, 4, 2, 5).reshape(batch, -1, height, width)


class ChannelAttention(nn.Module):
    def __init__(self, heads: int, d: int) -> None:
        super().__init__()
        self.heads, self.d = heads, d
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.proj = nn.Conv2d(heads * d, heads * d, 1)

    def forward(self, qkv: Tensor, sp: Tensor | None) -> Tensor:
        height, width = qkv.shape[-2:]
        q, k, v = qkv.flatten(2).unflatten(1, (self.heads, 3, self.d)).unbind(2)  # (B, heads, d, HW)
        if sp is not None:
            v = v * sp.mean(1, keepdim=True).flatten(2).unsqueeze(1)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        scores = q @ k.transpose(-2, -1)
        scores = scores * self.logit_scale.clamp(max=math.log(100.0)).exp()
        y = scores.softmax(dim=-1) @ v
        return self.proj(y.flatten(1, 2).unflatten(2, (height, width)))


class FFN(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(dim, hidden, 1)
        self.out = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.gelu(self.hidden(x)))


class Norm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class MobiVari1(nn.Module):
    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.dw_conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.pw_conv = nn.Conv2d(dim, out, 1)
        self.residual = dim == out

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.dw_conv(x)) + x
        y = F.leaky_relu(self.pw_conv(y))
        return y + x if self.residual else y


class MobiVari2(nn.Module):
    def __init__(self, dim: int, out: int, expansion: float, groups: int) -> None:
        super().__init__()
        hidden = int(dim * expansion)
        hidden = hidden + (groups - hidden % groups)
        self.exp_conv = nn.Conv2d(dim, hidden, 1, groups=groups)
        self.dw_conv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.pw_conv = nn.Conv2d(hidden, out, 1)
        self.residual = dim == out

    def forward(self, x: Tensor) -> Tensor:
        e = F.leaky_relu(self.exp_conv(x))
        y = self.pw_conv(F.leaky_relu(self.dw_conv(e) + e))
        return y + x if self.residual else y


def mobivari(dim: int, s: RAMiTSettings, expansion: float, groups: int) -> nn.Module:
    return MobiVari1(dim, s.dim) if s.mobivari_version == 1 else MobiVari2(dim, s.dim, expansion, groups)


class Down(nn.Module):
    def __init__(self, s: RAMiTSettings) -> None:
        super().__init__()
        self.norm = Norm(4 * s.dim)
        self.reduction = mobivari(4 * s.dim, s, s.mobivari_expansion, s.mobivari_groups)

    def forward(self, x: Tensor) -> Tensor:
        top, bottom = x[:, :, 0::2], x[:, :, 1::2]
        x = torch.cat([top[..., 0::2], top[..., 1::2], bottom[..., 0::2], bottom[..., 1::2]], dim=1)
        return self.reduction(self.norm(x))


class Bottleneck(nn.Module):
    def __init__(self, s: RAMiTSettings) -> None:
        super().__init__()
        self.mobivari = mobivari(s.dim + s.dim // 4 + s.dim // 16, s, s.neck_expansion, s.neck_groups)
        self.norm = Norm(s.dim)

    def forward(self, s: Tensor, o1: Tensor, o2: Tensor, o3: Tensor) -> Tensor:
        u0 = o1 + F.leaky_relu(s)
        u1 = F.pixel_shuffle(o2 + F.leaky_relu(F.max_pool2d(s, 2)), 2)
        u2 = F.pixel_shuffle(o3 + F.leaky_relu(F.max_pool2d(F.max_pool2d(s, 2), 2)), 4)
        return self.norm(self.mobivari(torch.cat([u0, u1, u2], dim=1)))


class AttentionMix(nn.Module):
    def __init__(self, s: RAMiTSettings) -> None:
        super().__init__()
        self.mobivari = mobivari(2 * s.dim + s.dim // 4 + s.dim // 16, s, s.neck_expansion, s.neck_groups)

    def forward(self, a1: Tensor, a2: Tensor, a3: Tensor, a4: Tensor) -> Tensor:
        return self.mobivari(torch.cat([a1, F.pixel_shuffle(a2, 2), F.pixel_shuffle(a3, 4), a4], dim=1))


class ToTarget(nn.Module):
    def __init__(self, s: RAMiTSettings) -> None:
        super().__init__()
        channels = len(s.mean)
        self.scale = s.scale
        layers = [mobivari(s.dim, s, s.mobivari_expansion, s.mobivari_groups) for _ in range(s.tail_mobivaris)]
        self.mobivari = nn.ModuleDict({f"mobivari{i}": layer for i, layer in enumerate(layers)})
        self.conv = nn.Conv2d(s.dim, channels * s.scale**2, 3, padding=1)
        self.final_conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.mobivari.values():
            x = layer(x)
        return self.final_conv(F.pixel_shuffle(self.conv(x), self.scale))
