// MobiVari of one patch.

#pragma once

#include "matmul.h"
#include "patch.h"

namespace {

struct PatchScratch {
    alignas(64) float input[HALO * HALO * MAX_ROW];
    alignas(64) float expanded[HALO * HALO * MAX_ROW];
    alignas(64) float hidden[PIXELS * MAX_ROW];
    alignas(64) float result[PIXELS * MAX_ROW];
    alignas(64) float x[PIXELS * MAX_ROW];
};

// Length of a row of the expanding convolution's result: a group writes up to a vector's length beyond its end.
INLINE int expanded_row(const PostAttention& t) { return padded(t.hidden) + 2 * PADDING; }

// Expanding convolution, without its activation, of `rows` pixels.
void expand(const PostAttention& t, float* expanded, const float* input, int rows) {
    const int in = t.in_channels / t.groups, out = t.hidden / t.groups, columns = padded(out);
    for (int g = 0; g < t.groups; ++g)  // the next group overwrites the padding of this one
        matmul(expanded + g * out, expanded_row(t), input + g * in, padded(t.in_channels), 1,
               t.exp_weight + long(g) * in * columns, columns, rows, in, columns, t.exp_bias + g * columns, 0);
}

// start + sum over the nine pixels of a 3x3 neighborhood of weight * value. corner: its upper left pixel.
INLINE Vector convolve3x3(Vector start, const Vector* weight, const float* corner, int row) {
    for (int j = 0; j < 9; ++j) start += weight[j] * load(corner + (j / 3 * HALO + j % 3) * row);
    return start;
}

// MobiVari of a patch. Leaves its input in s.input, input and result of the pointwise convolution in s.hidden and
// s.result, and its own result in `to`, which may be s.result. `depthwise`, unless null, gets that of the depthwise
// convolution.
template <typename T>
void mobivari(const PostAttention& t, const Patch& at, Prefetcher& prefetcher, PatchScratch& s, float* to,
              float* depthwise) {
    const int cip = padded(t.in_channels), ep = padded(t.hidden), cop = padded(t.out_channels);
    read_halo(s.input, static_cast<const T*>(t.attentions), at, t.in_channels);
    const float* source = s.input;
    int source_row = cip;
    if (t.groups) {
        source = s.expanded;
        source_row = expanded_row(t);
        expand(t, s.expanded, s.input, (HALO * HALO + ROWS - 1) / ROWS * ROWS);
        for (int p = 0; p < HALO * HALO; ++p) {
            const bool outside = at.halo_place(p) < 0;
            float* w = s.expanded + p * source_row;
            for (int i = 0; i < ep; i += LANES) store(w + i, outside ? Vector{} : leaky_relu(load(w + i)));
        }
    }
    for (int i = 0; i < ep; i += LANES) {
        Vector weight[9];
        for (int j = 0; j < 9; ++j) weight[j] = load(t.dw_weight + j * ep + i);
        const Vector bias = load(t.dw_bias + i);
        for (int p = 0; p < PIXELS; ++p) {
            const float* corner = source + (p / SIDE * HALO + p % SIDE) * source_row + i;
            const Vector v = convolve3x3(bias, weight, corner, source_row);
            if (depthwise) store(depthwise + p * ep + i, v);
            const Vector center = load(corner + (HALO + 1) * source_row);
            store(s.hidden + p * ep + i, t.groups ? leaky_relu(v + center) : leaky_relu(v) + center);
        }
    }
    matmul(s.result, cop, s.hidden, ep, 1, t.pw_weight, cop, PIXELS, t.hidden, cop, t.pw_bias, 0, &prefetcher);
    for (int p = 0; p < PIXELS; ++p) {
        const float* center = s.input + in_halo(p) * cip;
        for (int i = 0; i < cop; i += LANES) {
            Vector v = load(s.result + p * cop + i);
            if (!t.groups) v = leaky_relu(v);
            if (t.residual) v += load(center + i);
            store(to + p * cop + i, v);
        }
    }
}

}  // namespace
