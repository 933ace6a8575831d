"""NGswin, the N-Gram Swin Transformer for lightweight super-resolution, to compare with.

Source: Choi, Lee, Yang, "N-Gram in Swin Transformers for Efficient Lightweight Image Super-Resolution", CVPR 2023,
arXiv 2211.11436. Module names are the keys of the published checkpoints.
"""

import inspect
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ramit_arch.attention import cosine_attention, cosine_scale, position_bias, relative_position_index
from ramit_arch.layers import (
    Normalisation,
    cells_to_channels,
    channels_first,
    channels_last,
    max_pool,
    pad_to_multiple,
    to_full_size,
)
from ramit_arch.settings import MOST_BLOCKS, SR_MEAN, SR_STD
from ramit_arch.windows import cyclic_shift, window_partition, window_reverse

N_ENCODER_STAGES = 3
N_DOWNSIZINGS = N_ENCODER_STAGES - 1
OTHER_REGION = -100.0
"""Added to the scores of pixels that the cyclic shift brought together, as in Swin."""


@dataclass(frozen=True, kw_only=True)
class NGswinSettings:
    """All hyper-parameters of an NGswin, written here only; the defaults are the published network.

    Attributes:
        scale: Output size over input size: 2, 3 or 4.
        dim: Channels D, a multiple of 16.
        depths: Blocks of each of the three encoder stages.
        num_heads: Attention heads of each of the three encoder stages. A head has `dim // heads` channels: what is left
            over of D takes no part in the attention.
        decoder_depth: Blocks of the decoder stage.
        decoder_heads: Attention heads of the decoder stage.
        window_size: Window side M in pixels, even.
        ngram: Side N, in windows, of the neighbourhood that gives a window its context.
        mlp_ratio: Hidden channels of the feed-forward networks over D.
    """

    scale: int
    dim: int = 64
    depths: tuple[int, ...] = (6, 4, 4)
    num_heads: tuple[int, ...] = (6, 4, 4)
    decoder_depth: int = 6
    decoder_heads: int = 6
    window_size: int = 8
    ngram: int = 2
    mlp_ratio: float = 2.0

    def __post_init__(self) -> None:
        for name in ("depths", "num_heads"):  # option files have lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not isinstance(self.scale, int) or self.scale not in SR_STD:
            raise ValueError(f"scale must be 2, 3 or 4, not {self.scale!r}")
        if self.dim < 1 or self.dim % 4**N_DOWNSIZINGS:
            raise ValueError(f"dim must be a multiple of {4**N_DOWNSIZINGS}, not {self.dim}")
        for name in ("depths", "num_heads"):
            values = getattr(self, name)
            if len(values) != N_ENCODER_STAGES or min(values) < 1:
                raise ValueError(f"{name} must be {N_ENCODER_STAGES} positive numbers, not {list(values)}")
        if max(*self.depths, self.decoder_depth) > MOST_BLOCKS:
            raise ValueError(f"depths and decoder_depth must be at most {MOST_BLOCKS}, not {list(self.depths)}")
        for name in ("decoder_depth", "decoder_heads", "ngram"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        heads = max(*self.num_heads, self.decoder_heads)
        if heads > self.dim // 2:
            raise ValueError(f"num_heads and decoder_heads must be at most dim / 2 = {self.dim // 2}, not {heads}")
        if self.window_size < 2 or self.window_size % 2:
            raise ValueError(f"window_size must be even and positive, not {self.window_size}")
        if self.hidden_dim < 1:
            raise ValueError(f"mlp_ratio {self.mlp_ratio} of dim {self.dim} leaves no hidden channel")

    @property
    def hidden_dim(self) -> int:
        """Hidden channels of the feed-forward networks."""
        return int(self.dim * self.mlp_ratio)


class NGswin(nn.Module):
    """NGswin: `network_g: {type: NGswin, scale: 2}`.

    The defaults are the published network, Choi et al. 2023. The output is not clamped.

    Args:
        settings: Fields of `NGswinSettings`.

    Raises:
        TypeError: An argument is not a field of `NGswinSettings`.
        ValueError: Settings that do not fit together.

    Shape:
        (B, 3, H, W), range 0..1 -> (B, 3, H * scale, W * scale), any H and W from 1 up.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        s = self.settings = NGswinSettings(**settings)
        self.scale, self.in_channels = s.scale, len(SR_MEAN)
        self.size_unit = s.window_size * 2**N_DOWNSIZINGS
        """The network works on multiples of this many pixels; other sizes are padded inside and cropped."""

        self.normalisation = Normalisation(SR_MEAN, SR_STD[s.scale])
        self.shallow_extract = ShallowExtract(self.in_channels, s.dim)
        self.encoder_layer1 = Stage(s, s.depths[0], s.num_heads[0], merge=True)
        self.encoder_layer2 = Stage(s, s.depths[1], s.num_heads[1], in_dim=2 * s.dim, merge=True)
        self.encoder_layer3 = Stage(s, s.depths[2], s.num_heads[2], in_dim=3 * s.dim)
        self.bottleneck = Bottleneck(s)
        self.decoder_layer1 = Stage(s, s.decoder_depth, s.decoder_heads)
        self.norm = nn.LayerNorm(s.dim)
        self.to_target = Reconstruction(s, self.in_channels)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        # Zeros go in before the normalisation: the padding is black.
        x = self.normalisation(pad_to_multiple(x, self.size_unit))

        x0 = channels_last(self.shallow_extract(x))  # (B, H, W, D)
        e1, merged = self.encoder_layer1(x0)  # (B, H, W, D), (B, H/2, W/2, D)
        c1 = torch.cat([max_pool(x0), merged], dim=-1)  # (B, H/2, W/2, 2D)
        e2, merged = self.encoder_layer2(c1)  # (B, H/2, W/2, D), (B, H/4, W/4, D)
        c2 = torch.cat([max_pool(c1), merged], dim=-1)  # (B, H/4, W/4, 3D)
        e3, _ = self.encoder_layer3(c2)  # (B, H/4, W/4, D)
        y, _ = self.decoder_layer1(self.bottleneck(x0, e1, e2, e3) + e1)  # (B, H, W, D)
        y = self.to_target(channels_first(self.norm(y) + x0))

        y = self.normalisation.inverse(y)
        return y[..., : height * self.scale, : width * self.scale]


# The arguments are the settings', which are written down once.
NGswin.__signature__ = inspect.signature(NGswinSettings)  # type: ignore[attr-defined]


class ShallowExtract(nn.Module):
    """3x3 convolution to the network's width: (B, C_in, H, W) -> (B, D, H, W)."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1(x)


class Stage(nn.Module):
    """N-gram Swin blocks in a row; every second one shifts its windows. Each takes the last one's output plus input.

    Args:
        s: The network's settings.
        depth: Number of blocks.
        heads: Attention heads of each.
        in_dim: Channels of the input (several maps of the cascade, side by side), mapped to D first; None: D.
        merge: Whether the stage also gives its result at half the size.

    Shape:
        (B, H, W, in_dim) -> output of the last block, (B, H, W, D), and the sum of its output and input: as it is, or
        merged to (B, H/2, W/2, D).
    """

    def __init__(
        self, s: NGswinSettings, depth: int, heads: int, *, in_dim: int | None = None, merge: bool = False
    ) -> None:
        super().__init__()
        self.window_size = s.window_size
        self.across_cascade_proj = nn.Linear(in_dim, s.dim) if in_dim else nn.Identity()
        self.blocks = nn.ModuleList(NSTB(s, heads, shift=s.window_size // 2 if i % 2 else 0) for i in range(depth))
        self.downsample = PatchMerging(s.dim) if merge else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mask = shift_mask(x, self.window_size)
        total = self.across_cascade_proj(x)  # output plus input of the previous block
        for block in self.blocks:
            x = block(total, mask)
            total = x + total
        return x, self.downsample(total)


class PatchMerging(nn.Module):
    """Halve height and width: 2x2 cells to channels, norm, linear map. (B, H, W, D) -> (B, H/2, W/2, D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(self.norm(cells_to_channels(x)))


class NSTB(nn.Module):
    """N-gram Swin Transformer block: window attention with N-gram context, feed-forward network, post-norm residuals.

    Shape:
        (B, H, W, D) -> (B, H, W, D)
    """

    def __init__(self, s: NGswinSettings, heads: int, *, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.ngram_window_partition = NGramWindowPartition(s, heads, shift=shift)
        self.attn = WindowAttention(s.dim, heads, s.window_size)
        self.norm1 = nn.LayerNorm(s.dim)
        self.ffn = FeedForward(s.dim, s.hidden_dim)
        self.norm2 = nn.LayerNorm(s.dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Attend within windows.

        Args:
            x: (B, H, W, D); H and W are multiples of M.
            mask: What `shift_mask` gives for such a map; unshifted windows need none.
        """
        y = self.attn(self.ngram_window_partition(x), mask if self.shift else None)  # (B, H/M, W/M, M^2, D)
        x = x + self.norm1(cyclic_shift(window_reverse(y, self.attn.window_size), self.shift))
        return x + self.norm2(self.ffn(x))


class NGramWindowPartition(nn.Module):
    """Add to every pixel the N-gram context of its window, shift the image cyclically, cut it into windows.

    Shape:
        (B, H, W, D) -> (B, H/M, W/M, M^2, D)
    """

    def __init__(self, s: NGswinSettings, heads: int, *, shift: int) -> None:
        super().__init__()
        self.window_size, self.shift = s.window_size, shift
        self.ngram_context = NGramContext(s, heads)

    def forward(self, x: Tensor) -> Tensor:
        m = self.window_size
        context = self.ngram_context(x)  # (B, H/M, W/M, D)
        x = x + context.repeat_interleave(m, dim=1).repeat_interleave(m, dim=2)
        return window_partition(cyclic_shift(x, -self.shift), m)


class NGramContext(nn.Module):
    """N-gram context of each window, from its neighbouring windows.

    Each window becomes one vector of D/2 channels, its unigram. The forward context of a window is the average of an
    attention within the N x N windows that it is the first of, the backward context within those that it is the last
    of; at the border, the map of windows is reflected.

    Shape:
        (B, H, W, D) -> (B, H/M, W/M, D)
    """

    def __init__(self, s: NGswinSettings, heads: int) -> None:
        super().__init__()
        half, m = s.dim // 2, s.window_size
        self.ngram = s.ngram
        self.unigram_embed = nn.Conv2d(s.dim, half, m, stride=m, groups=half)
        self.ngram_attn = WindowAttention(half, heads, s.ngram)
        self.merge = nn.Conv2d(s.dim, s.dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        n = self.ngram
        unigrams = channels_last(self.unigram_embed(channels_first(x)))  # (B, H/M, W/M, D/2)
        for axis in (1, 2):
            unigrams = reflect(unigrams, n - 1, axis)
        # One neighbourhood ends where another begins: both directions take theirs of the same attention.
        neighbourhoods = unigrams.unfold(1, n, 1).unfold(2, n, 1)  # (B, H/M + N-1, W/M + N-1, D/2, N, N)
        y = self.ngram_attn(neighbourhoods.flatten(4).transpose(3, 4)).mean(dim=3)  # (B, H/M + N-1, W/M + N-1, D/2)
        height, width = y.shape[1] - (n - 1), y.shape[2] - (n - 1)
        context = torch.cat([y[:, n - 1 :, n - 1 :], y[:, :height, :width]], dim=-1)
        if torch.compiler.is_exporting():
            # The convolution's layout would depend on whether the image is a single window.
            return F.linear(context, self.merge.weight.flatten(1), self.merge.bias)
        return channels_last(self.merge(channels_first(context)))


class WindowAttention(nn.Module):
    """Cosine attention between the pixels of a window, with relative position bias.

    Args:
        dim: Channels C.
        heads: Attention heads L, of `C // L` channels each.
        window_size: Window side M.
    """

    relative_position_index: Tensor

    def __init__(self, dim: int, heads: int, window_size: int) -> None:
        super().__init__()
        self.heads, self.head_dim, self.window_size = heads, dim // heads, window_size
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, heads))
        # The published files hold parameters only.
        self.register_buffer("relative_position_index", relative_position_index(window_size), persistent=False)
        self.qkv = nn.Linear(dim, 3 * heads * self.head_dim)
        self.proj = nn.Linear(heads * self.head_dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend within windows.

        Args:
            x: (B, rows, columns, M^2, C): the pixels of each window.
            mask: Added to the scores of each window, (rows, columns, 1, M^2, M^2), or None.

        Returns:
            (B, rows, columns, M^2, C)
        """
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, self.head_dim))
        q, k, v = qkv.permute(4, 0, 1, 2, 5, 3, 6).unbind(0)  # (B, rows, columns, L, M^2, d)
        bias = position_bias(self.relative_position_bias_table, self.relative_position_index)
        y = cosine_attention(q, k, v, cosine_scale(self.logit_scale), bias if mask is None else bias + mask)
        return self.proj(y.transpose(3, 4).flatten(4))


class FeedForward(nn.Module):
    """Two linear maps around an exact GELU: (..., D) -> (..., D)."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Bottleneck(nn.Module):
    """Bring the outputs of the encoder stages to full size and mix them.

    Shape:
        x0, e1 (B, H, W, D), e2 (B, H/2, W/2, D), e3 (B, H/4, W/4, D) -> (B, H, W, D)
    """

    def __init__(self, s: NGswinSettings) -> None:
        super().__init__()
        dim = s.dim + s.dim // 4 + s.dim // 16
        self.depthwise = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.pointwise = nn.Linear(dim, s.dim)
        self.norm = nn.LayerNorm(s.dim)

    def forward(self, x0: Tensor, e1: Tensor, e2: Tensor, e3: Tensor) -> Tensor:
        maps = channels_first(to_full_size(x0, (e1, e2, e3)))
        return self.norm(self.pointwise(channels_last(F.gelu(self.depthwise(maps)))))


class Reconstruction(nn.Module):
    """Features to the image: 3x3 convolution, pixel shuffle, 3x3 convolution.

    Shape:
        (B, D, H, W) -> (B, C_out, H * scale, W * scale)
    """

    def __init__(self, s: NGswinSettings, channels: int) -> None:
        super().__init__()
        self.scale = s.scale
        self.before_shuffle = nn.Conv2d(s.dim, channels * s.scale**2, 3, padding=1)
        self.to_origin = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.to_origin(F.pixel_shuffle(self.before_shuffle(x), self.scale))


def shift_mask(x: Tensor, window_size: int) -> Tensor:
    """Attention mask of windows shifted by M / 2: pixels that the cyclic shift brought together do not attend.

    Args:
        x: (B, H, W, C), for its size and device.
        window_size: Window side M.

    Returns:
        (H/M, W/M, 1, M^2, M^2), of the dtype of `x`: 0 within a region, -100 across. Windows at the bottom and right
        border consist of two or four regions, the others of one.
    """
    wrapped = []
    for size in x.shape[1:3]:
        windows = torch.arange(size, device=x.device).view(-1, window_size) >= size - window_size // 2  # (size/M, M)
        wrapped.append(windows[:, :, None] != windows[:, None, :])  # (size/M, M, M): of one window, are these apart?
    rows, columns = wrapped
    apart = rows[:, None, :, None, :, None] | columns[None, :, None, :, None, :]  # (H/M, W/M, M, M, M, M)
    apart = apart.flatten(4, 5).flatten(2, 3).unsqueeze(2)
    return torch.zeros((), dtype=x.dtype, device=x.device).where(~apart, OTHER_REGION)


def reflect(x: Tensor, margin: int, axis: int) -> Tensor:
    """Mirror `x` at both ends of an axis, without repeating the end: `margin` entries more on either side.

    Unlike torch's reflecting padding it goes on where `x` has no `margin` entries beyond its end: one window alone is
    its own neighbour.

    >>> reflect(torch.tensor([1, 2, 3]), 1, 0), reflect(torch.tensor([4]), 1, 0)
    (tensor([2, 1, 2, 3, 2]), tensor([4, 4, 4]))
    """
    size = x.shape[axis]
    # As a tensor: the ONNX exporter cannot take remainders of a size that is not known yet.
    period = (2 * torch.arange(size, device=x.device)[-1:]).clamp(min=1)
    position = torch.arange(-margin, size + margin, device=x.device) % period
    return x.index_select(axis, torch.minimum(position, period - position))
