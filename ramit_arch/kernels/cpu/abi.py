"""Structures that the C++ kernels take: the mirror of abi.h, compared with a library when it is loaded.

A definition has the text of abi.h without its comments, which give shapes and meaning.
"""

import ctypes
import re

from torch import Tensor

VERSION = 1
"""Number of the binary interface, ABI_VERSION in abi.h."""


class Structure(ctypes.Structure):
    """Structure of ints and pointers, given by its C++ definition."""

    definition: str
    tensors: dict[str, Tensor]  # whose addresses it holds


def fields_from_definition(kind: type[Structure]) -> type[Structure]:
    """Set the fields of a structure, whose names stand before a comma or a semicolon."""
    kind.definition = " ".join(kind.definition.split())
    names = re.findall(r"(\*?)(\w+)[,;]", kind.definition)
    kind._fields_ = [(name, ctypes.c_void_p if pointer else ctypes.c_int) for pointer, name in names]
    return kind


@fields_from_definition
class Limits(Structure):
    """Sizes that the kernels have working memory for; exported by the library."""

    definition = "int padding, window_size, max_channels, max_head_dim, max_channel_qk;"


@fields_from_definition
class BlockAttention(Structure):
    """Attentions of a block, without gradients."""

    definition = """
        int batch, height, width, channels;
        int spatial_heads, channel_heads, head_dim, shift;
        const void *x;
        const void *helper;
        void *y;
        const float *qkv_weight, *qkv_bias;
        const float *scale;
        const float *position_bias;
        const float *proj_weight, *proj_bias;
        double *products;
    """


@fields_from_definition
class ChannelMixing(Structure):
    """Multiplication of the last channels of each pixel by a matrix."""

    definition = """
        int batch, pixels, channels, n;
        void *y;
        const float *weight, *bias;
    """


@fields_from_definition
class PostAttention(Structure):
    """Rest of a block after its attentions, or MobiVari alone."""

    definition = """
        int batch, height, width;
        int in_channels, hidden, groups, out_channels;
        int residual, keep_mixed;
        int ffn_hidden;
        const void *attentions;
        const void *x;
        void *y, *mixed;
        const float *exp_weight, *exp_bias;
        const float *dw_weight, *dw_bias;
        const float *pw_weight, *pw_bias;
        const float *norm1_weight, *norm1_bias;
        const float *hidden_weight, *hidden_bias;
        const float *out_weight, *out_bias;
        const float *norm2_weight, *norm2_bias;
    """


@fields_from_definition
class PostAttentionGradients(Structure):
    """Gradients of the fields of `PostAttention` that have the same names."""

    definition = """
        const float *y, *mixed;
        float *attentions, *x;
        float *depthwise;
        const float *exp_weight_t, *pw_weight_t, *hidden_weight_t, *out_weight_t;
        float *exp_weight, *exp_bias, *dw_weight, *dw_bias, *pw_weight, *pw_bias;
        float *norm1_weight, *norm1_bias, *hidden_weight, *hidden_bias;
        float *out_weight, *out_bias, *norm2_weight, *norm2_bias;
    """


@fields_from_definition
class WindowAttention(Structure):
    """Attention within windows."""

    definition = """
        int windows, heads, head_dim, row;
        const float *qkv;
        const float *gate;
        const float *scale;
        const float *bias;
        float *y;
    """


@fields_from_definition
class WindowAttentionGradients(Structure):
    """Gradients of the fields of `WindowAttention` that have the same names."""

    definition = """
        const float *y;
        float *qkv;
        float *gate;
        double *scale;
        float *bias;
    """


STRUCTURES = [
    Limits, BlockAttention, ChannelMixing, PostAttention, PostAttentionGradients, WindowAttention,
    WindowAttentionGradients,
]  # fmt: skip


def description() -> list[str]:
    """Version, then name, size in bytes and definition of each structure, as the library describes itself."""
    structures = [f"{kind.__name__} {ctypes.sizeof(kind)}: {kind.definition}" for kind in STRUCTURES]
    return [f"version {VERSION}", *structures]
