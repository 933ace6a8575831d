"""RAMiT's blocks on a CPU without gradients: one call for the attentions of a block, one for the rest of it.

The C++ beside this file computes; here weights are brought into the order that it reads. The calls are PyTorch
operators, so that torch.compile takes them as they are.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

from ramit_arch.kernels.library import library
from ramit_arch.kernels.plain import channel_mixing

import torch
from torch import Tensor
from torch.nn import functional as F

LANES, SIDE = 16, 8
"""Floats of a vector; side of a window and of a patch, in pixels. As in vectors.h."""

MOST_HEAD_DIM = 64
"""Channels of an attention head that the kernels have working memory for."""

MOST = 448
"""Channels of any map and of any hidden layer that the kernels have working memory for."""

SUFFIXES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


def fields(integers: str, pointers: str) -> list[tuple[str, Any]]:
    """Of a structure: names, apart by spaces, of its numbers and of its pointers."""
    return [(name, ctypes.c_int) for name in integers.split()] + [(name, ctypes.c_void_p) for name in pointers.split()]


class _Attend(ctypes.Structure):
    _fields_ = fields(
        "batch height width channels spatial_heads channel_heads head_dim shift helped",
        "x helpers y qkv_weight qkv_bias scale position_bias proj_weight proj_bias",
    )


class _Transform(ctypes.Structure):
    _fields_ = fields(
        "batch height width in_channels hidden groups out_channels residual keep_mix ffn_hidden",
        "attentions x y mix exp_weight exp_bias dw_weight dw_bias pw_weight pw_bias norm1_weight norm1_bias "
        "hidden_weight hidden_bias out_weight out_bias norm2_weight norm2_bias",
    )


def rounded_up(channels: int) -> int:
    """To the next multiple of LANES."""
    return -(-channels // LANES) * LANES


def knows(channels: int, spatial_heads: int, channel_heads: int) -> bool:
    """Whether `attend` has working memory enough for a block of so many channels and heads."""
    head_dim = channels // (spatial_heads + channel_heads)
    return 3 * channels <= MOST and head_dim <= MOST_HEAD_DIM and 2 * channel_heads * head_dim <= 128


def fits(x: Tensor, *channels: int, side: int = SIDE) -> bool:
    """Whether these kernels can take a map: it is `known`, and no gradients are wanted.

    Args:
        x: (B, H, W, C)
        channels: Of every map and hidden layer on the way.
        side: Of a window.
    """
    return not torch.is_grad_enabled() and known(x, *channels, side=side)


def known(x: Tensor, *channels: int, side: int = SIDE) -> bool:
    """Whether there are kernels for a map: on a CPU, not exported, sizes that they know. Arguments as for `fits`."""
    return (
        x.device.type == "cpu"
        and x.dtype in SUFFIXES
        and not torch.compiler.is_exporting()
        and side == SIDE
        and not (x.shape[1] % SIDE or x.shape[2] % SIDE)
        and max(channels) <= MOST
        and library() is not None
    )


@torch.library.custom_op("ramit::attend", mutates_args=())
def attend(
    x: Tensor,
    helpers: Tensor | None,
    qkv: Sequence[Tensor],
    spatial: Sequence[Tensor],
    channel: Sequence[Tensor],
    shift: int,
) -> Tensor:
    """Spatial and channel attention side by side, from their common input to their projections.

    Args:
        x: (B, H, W, C), float32 or bfloat16; H and W multiples of 8.
        helpers: What this returned for the previous block, or None.
        qkv: Weight (3C, C) and bias (3C), if any: queries, keys, values of the spatial heads (L_sp), then of the
            channel heads (L_ch).
        spatial: Of the spatial heads: scale (L_sp), relative position bias (L_sp, 64, 64), weight (L_sp*d, L_sp*d) and
            bias (L_sp*d) of the projection.
        channel: Of the channel heads: scale (L_ch), weight (L_ch*d, L_ch*d) and bias (L_ch*d) of the projection.
        shift: Of the windows, 0 or 4 pixels.

    Returns:
        (B, H, W, C): spatial attention, then channel attention.
    """
    batch, height, width, channels = x.shape
    scale, position_bias, proj_weight, proj_bias = spatial
    ch_scale, ch_weight, ch_bias = channel
    sp_heads, ch_heads = len(scale), len(ch_scale)
    dim = channels // (sp_heads + ch_heads)
    x = x.contiguous()
    y = torch.empty_like(x)
    with torch.autocast("cpu", enabled=False):
        bias = qkv[1] if len(qkv) > 1 else torch.zeros(3 * channels)
        structure, kept = _structure(
            _Attend,
            [batch, height, width, channels, sp_heads, ch_heads, dim, shift, helpers is not None],
            [x, None if helpers is None else helpers.contiguous(), y],
            [_panel(qkv[0]), padded(bias), scale, position_bias.mT, _panel(proj_weight), padded(proj_bias)],
        )
        threads = torch.get_num_threads()
        n = 2 * ch_heads * dim
        products = torch.zeros(threads, batch, rounded_up(n), rounded_up(n), dtype=torch.float64)
        _call("attend", x.dtype, ctypes.byref(structure), threads, _pointer(products))
        sums = products.sum(0).float()[:, :n, :n]
        mixing = padded(channel_mixing(sums, ch_scale.float(), ch_weight.float()).transpose(1, 2)).contiguous()
        ch_bias = padded(ch_bias.float()).contiguous()
        last = [channels, ch_heads * dim, _pointer(mixing), _pointer(ch_bias), batch, ctypes.c_long(height * width)]
        _call("mix", x.dtype, _pointer(y), *last, threads)
    del kept
    return y


@attend.register_fake
def _(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@torch.library.custom_op("ramit::mix", mutates_args=())
def mix(x: Tensor, exp: Sequence[Tensor], dw: Sequence[Tensor], pw: Sequence[Tensor], groups: int) -> Tensor:
    """MobiVari.

    Args:
        x: (B, H, W, C), float32 or bfloat16; H and W multiples of 8.
        exp: Weight (E, C / groups) and bias (E) of the expanding convolution; nothing for version 1.
        dw: Weight (E, 1, 3, 3) and bias (E) of the depthwise convolution; E = C for version 1.
        pw: Weight (C', E) and bias (C') of the pointwise convolution.
        groups: Of the expanding convolution; 0 for version 1.

    Returns:
        (B, H, W, C')
    """
    y = x.new_empty(*x.shape[:3], len(pw[0]))
    _transform(x.contiguous(), exp, dw, pw, groups, mixed=y)
    return y


@mix.register_fake
def _(x: Tensor, exp: Any, dw: Any, pw: Sequence[Tensor], groups: int) -> Tensor:
    return x.new_empty(*x.shape[:3], len(pw[0]))


@torch.library.custom_op("ramit::transform", mutates_args=())
def transform(
    attentions: Tensor,
    x: Tensor,
    exp: Sequence[Tensor],
    dw: Sequence[Tensor],
    pw: Sequence[Tensor],
    groups: int,
    norms_and_ffn: Sequence[Tensor],
    keep_mix: bool,
) -> tuple[Tensor, Tensor]:
    """What follows the attentions in a block: MobiVari, norm, feed-forward network, norm.

    Args:
        attentions: (B, H, W, C)
        x: The block's input, (B, H, W, C).
        exp: As in `mix`, like `dw`, `pw` and `groups`.
        dw: See `exp`.
        pw: See `exp`.
        groups: See `exp`.
        norms_and_ffn: Weight and bias of the first norm (C), of the hidden layer (E', C), of the output layer (C, E'),
            of the second norm.
        keep_mix: Whether the result of MobiVari is wanted.

    Returns:
        The block's output, and the result of MobiVari (empty unless wanted), each (B, H, W, C).
    """
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    mixed = torch.empty_like(y) if keep_mix else y.new_empty(0)
    _transform(attentions.contiguous(), exp, dw, pw, groups, mixed=mixed, x=x.contiguous(), y=y, rest=norms_and_ffn)
    return y, mixed


@transform.register_fake
def _(attentions: Tensor, x: Tensor, exp: Any, dw: Any, pw: Any, groups: int, rest: Any, keep_mix: bool) -> Any:
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    return y, torch.empty_like(y) if keep_mix else y.new_empty(0)


def _transform(
    source: Tensor,
    exp: Sequence[Tensor],
    dw: Sequence[Tensor],
    pw: Sequence[Tensor],
    groups: int,
    *,
    mixed: Tensor,
    x: Tensor | None = None,
    y: Tensor | None = None,
    rest: Sequence[Tensor] = (),
) -> None:
    structure, kept = transform_structure(source, exp, dw, pw, groups, rest, x=x, y=y, mixed=mixed)
    _call("transform", source.dtype, ctypes.byref(structure), torch.get_num_threads())
    del kept


def transform_structure(
    source: Tensor,
    exp: Sequence[Tensor],
    dw: Sequence[Tensor],
    pw: Sequence[Tensor],
    groups: int,
    rest: Sequence[Tensor],
    *,
    x: Tensor | None,
    y: Tensor | None = None,
    mixed: Tensor | None = None,
) -> tuple[ctypes.Structure, list[Tensor | None]]:
    """What the kernels are told about a `transform`, or about a `mix`.

    Args:
        source: Input of MobiVari.
        exp: As in `mix`, like `dw`, `pw` and `groups`.
        dw: See `exp`.
        pw: See `exp`.
        groups: See `exp`.
        rest: `norms_and_ffn` of `transform`; nothing for MobiVari alone.
        x: The block's input.
        y: For the block's output.
        mixed: For the result of MobiVari; empty or None where it is not wanted.

    Returns:
        The structure, and the tensors that must live as long as it does: source, x, y, mixed, then the weights as the
        kernels have them, in the order of the structure; None for those that are not there.
    """
    batch, height, width, channels = source.shape
    expanded, out = len(dw[0]), len(pw[0])
    wide: list[Tensor | None] = [None, None]
    if groups:
        weight, bias = exp
        wide = [
            padded(weight.float().view(groups, expanded // groups, -1).mT),
            padded(bias.float().view(groups, -1)).flatten(),
        ]
    ffn: list[Tensor | None] = [None] * 8
    if rest:
        norm1_weight, norm1_bias, hidden_weight, hidden_bias, out_weight, out_bias, norm2_weight, norm2_bias = rest
        layers = [_panel(hidden_weight), padded(hidden_bias), _panel(out_weight), padded(out_bias)]
        ffn = [padded(norm1_weight), padded(norm1_bias), *layers, padded(norm2_weight), padded(norm2_bias)]
    sizes = [batch, height, width, channels, expanded, groups, out, channels == out]
    return _structure(
        _Transform,
        [*sizes, mixed is not None and mixed.numel() > 0, len(rest[2]) if rest else 0],
        [source, x, y, mixed],
        [*wide, padded(dw[0].float().flatten(1).t()), padded(dw[1]), _panel(pw[0]), padded(pw[1]), *ffn],
    )


def _panel(weight: Tensor) -> Tensor:
    """(out, in) -> (in, out), padded."""
    return padded(weight.float().t())


def padded(x: Tensor) -> Tensor:
    """Zeros to the next multiple of LANES, on the last axis."""
    missing = -x.shape[-1] % LANES
    return F.pad(x, (0, missing)) if missing else x


def _structure(
    kind: type[ctypes.Structure],
    integers: Sequence[int],
    maps: Sequence[Tensor | None],
    weights: Sequence[Tensor | None],
) -> tuple[ctypes.Structure, list[Tensor | None]]:
    """The structure, and the tensors that must live as long as it does."""
    tensors = [*maps, *(None if weight is None else weight.float().contiguous() for weight in weights)]
    return kind(*integers, *(None if tensor is None else tensor.data_ptr() for tensor in tensors)), tensors


def _pointer(x: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.data_ptr())


def _call(name: str, dtype: torch.dtype, *arguments: Any) -> None:
    getattr(library(), f"{name}_{SUFFIXES[dtype]}")(*arguments)
