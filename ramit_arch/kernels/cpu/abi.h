// The boundary to Python: limits, and the structures that the kernels take. abi.py mirrors the structures.
//
// The library carries the text of their definitions, and Python refuses to call a library whose text is not its own.
// Raise ABI_VERSION when the meaning of a field, or the arguments of an exported function, change.

#pragma once

constexpr int ABI_VERSION = 1;

// Defines a structure, and its definition as text.
#define STRUCTURE(Name, ...)                            \
    struct Name {                                       \
        __VA_ARGS__                                     \
    };                                                  \
    namespace {                                         \
    constexpr char Name##_definition[] = #__VA_ARGS__;  \
    }

// clang-format off

// Limits --------------------------------------------------------------------------------------------------------------

// A "panel" is the weight matrix of y = x w: (rows of w = channels of x, columns = channels of y), the columns padded
// with zeros to a multiple of PADDING. Vectors of channels are padded likewise.
constexpr int PADDING = 16;
constexpr int WINDOW_SIZE = 8;        // side of a window and of a patch, in pixels
constexpr int MAX_CHANNELS = 448;     // of any map and of any hidden layer
constexpr int MAX_HEAD_DIM = 64;      // channels of an attention head
constexpr int MAX_CHANNEL_QK = 128;   // channels of q and k of all channel heads together

STRUCTURE(Limits, int padding, window_size, max_channels, max_head_dim, max_channel_qk;)

// Attentions of a block, without gradients ----------------------------------------------------------------------------
// Maps are channels last, float or, in functions whose name ends in bfloat16, uint16_t.

STRUCTURE(BlockAttention,
    int batch, height, width, channels;
    int spatial_heads, channel_heads, head_dim, shift;
    const void *x;                         // (B, H, W, C)
    const void *helper;                    // (B, H, W, C): y of the previous block; or null
    void *y;                               // (B, H, W, C): spatial attention, then v of the channel heads, which
                                           // mix_channels turns into channel attention
    const float *qkv_weight, *qkv_bias;    // panel C x 3C: q, k, v of the spatial heads, then of the channel heads
    const float *scale;                    // (spatial_heads)
    const float *position_bias;            // (spatial_heads, 64 keys, 64 queries)
    const float *proj_weight, *proj_bias;  // panel, of the spatial heads' channels
    double *products;                      // (threads, B, n, n), zeros at first; n: padded number of channels of q
                                           // and k of the channel heads, of every two of which each thread adds
                                           // up the products
)

// Multiplies the last n channels of each pixel by a matrix, in place.
STRUCTURE(ChannelMixing,
    int batch, pixels, channels, n;
    void *y;                     // (B, pixels, channels)
    const float *weight, *bias;  // for each image a panel n x n; (n), padded
)

// The rest of a block: MobiVari, norm, feed-forward network, norm -----------------------------------------------------

STRUCTURE(PostAttention,
    int batch, height, width;
    int in_channels, hidden, groups, out_channels;  // of MobiVari; version 1: groups 0, hidden = in_channels
    int residual, keep_mixed;                       // whether MobiVari adds its input, and whether `mixed` is written
    int ffn_hidden;                                 // 0: MobiVari alone
    const void *attentions;                         // (B, H, W, in_channels)
    const void *x;                                  // input of the block, (B, H, W, out_channels)
    void *y, *mixed;                                // outputs of block and MobiVari, (B, H, W, out_channels)
    const float *exp_weight, *exp_bias;             // panels (groups, in_channels / groups, hidden / groups padded)
    const float *dw_weight, *dw_bias;               // (9, hidden padded), (hidden padded)
    const float *pw_weight, *pw_bias;               // panel hidden x out_channels
    const float *norm1_weight, *norm1_bias;         // padded
    const float *hidden_weight, *hidden_bias;       // panel
    const float *out_weight, *out_bias;             // panel
    const float *norm2_weight, *norm2_bias;         // padded
)

// Gradients of the fields of PostAttention that have the same names.
STRUCTURE(PostAttentionGradients,
    const float *y, *mixed;   // null where there is none
    float *attentions, *x;
    float *depthwise;         // of the depthwise convolution's result, (B, H, W, hidden padded): working memory
    // Transposed weights: (groups, hidden / groups, in_channels / groups padded), panels out_channels x hidden,
    // ffn_hidden x out_channels and out_channels x ffn_hidden.
    const float *exp_weight_t, *pw_weight_t, *hidden_weight_t, *out_weight_t;
    // Zeros at first, once for each thread; rows are padded, too.
    float *exp_weight, *exp_bias, *dw_weight, *dw_bias, *pw_weight, *pw_bias;
    float *norm1_weight, *norm1_bias, *hidden_weight, *hidden_bias;
    float *out_weight, *out_bias, *norm2_weight, *norm2_bias;
)

// Attention within windows, with gradients ----------------------------------------------------------------------------

STRUCTURE(WindowAttention,
    int windows, heads, head_dim, row;
    const float *qkv;    // (windows, 64, row): q of all heads, then k, then v; further columns are not read
    const float *gate;   // (windows, 64, head_dim) or null: multiplies v of every head
    const float *scale;  // (heads)
    const float *bias;   // (heads, 64 keys, 64 queries)
    float *y;            // (windows, 64, heads * head_dim); not used by the backward pass
)

// Gradients of the fields of WindowAttention that have the same names.
STRUCTURE(WindowAttentionGradients,
    const float *y;
    float *qkv;     // columns beyond q, k and v become zero
    float *gate;    // null where there is no gate
    double *scale;  // (threads, heads), zeros at first: each thread adds up its own windows
    float *bias;    // (threads, heads, 64 keys, 64 queries), likewise
)
