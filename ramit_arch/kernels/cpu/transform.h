// What follows the attentions in a block, patch by patch: MobiVari, norm, feed-forward network, norm.

#pragma once

#include "vectors.h"

#include <cmath>

extern "C" {

struct Transform {
    int batch, height, width;
    int in_channels, hidden, groups, out_channels;  // groups 0: MobiVari 1, hidden = in_channels
    int residual, keep_mix, ffn_hidden;             // ffn_hidden 0: MobiVari alone
    const void *attentions, *x;                     // (B, H, W, in_channels), (B, H, W, out_channels)
    void *y, *mix;                                  // (B, H, W, out_channels)
    const float *exp_weight, *exp_bias;             // panel by group: (groups, in_channels / groups, padded)
    const float *dw_weight, *dw_bias;               // (9, hidden padded), (hidden padded)
    const float *pw_weight, *pw_bias;               // panel hidden x out_channels
    // Norms: padded; layers: panels.
    const float *norm1_weight, *norm1_bias, *hidden_weight, *hidden_bias, *out_weight, *out_bias, *norm2_weight, *norm2_bias;
};
}

namespace {

struct PatchScratch {
    alignas(64) float input[HALO * HALO * MOST];
    alignas(64) float wide[HALO * HALO * MOST];
    alignas(64) float mixed[PIXELS * MOST];
    alignas(64) float a[PIXELS * MOST];
    alignas(64) float x[PIXELS * MOST];
};

INLINE int patches(const Transform& t) { return t.batch * (t.height / SIDE) * (t.width / SIDE); }

// Where a patch lies in its map.
struct Patch {
    int height, width, image, top, left;

    Patch(const Transform& t, int patch) : height(t.height), width(t.width) {
        const int columns = width / SIDE, per_image = height / SIDE * columns;
        image = patch / per_image;
        top = patch % per_image / columns * SIDE;
        left = patch % columns * SIDE;
    }
    // Of pixel p of the patch, in pixels of the map.
    long place(int p) const { return (long(image) * height + top + p / SIDE) * width + left + p % SIDE; }
    // Of pixel p of the patch with the border of one pixel around it; -1 outside the image.
    long halo_place(int p) const {
        const int row = top + p / HALO - 1, column = left + p % HALO - 1;
        if (row < 0 || row >= height || column < 0 || column >= width) return -1;
        return (long(image) * height + row) * width + column;
    }
};

// Of pixel p of a patch among the pixels of the patch with its border.
INLINE int in_halo(int p) { return (p / SIDE + 1) * HALO + p % SIDE + 1; }

// A patch of a map with n channels, and as many pixels around it; what is to the left of it has been read just before.
template <typename T> void add_rows(Ahead& ahead, const T* map, const Patch& at, int n, int border) {
    for (int row = -border; row < SIDE + border; ++row) {
        const int line = at.top + row;
        if (line >= 0 && line < at.height)
            ahead.add(map + ((long(at.image) * at.height + line) * at.width + at.left) * n, long(SIDE + border) * n);
    }
}

// A patch and its border, rows of n channels padded with zeros; black outside the image.
template <typename T> void read_halo(float* to, const T* map, const Patch& at, int n) {
    const int row = padded(n);
    for (int p = 0; p < HALO * HALO; ++p, to += row) {
        const long place = at.halo_place(p);
        if (place < 0) {
            std::memset(to, 0, sizeof(float) * row);
        } else {
            copy(to, map + place * n, n);
            for (int i = n; i < row; ++i) to[i] = 0;
        }
    }
}

// Of the result of the expanding convolution: room for what a group writes beyond its end.
INLINE int wide_row(const Transform& t) { return padded(t.hidden) + 2 * PANEL; }

// Expanding convolution of as many rows of channels.
void expand(const Transform& t, float* wide, const float* input, int rows) {
    const int in = t.in_channels / t.groups, out = t.hidden / t.groups, columns = padded(out);
    for (int g = 0; g < t.groups; ++g)  // what a group writes beyond its end, the next one replaces
        product(wide + g * out, wide_row(t), input + g * in, padded(t.in_channels), 1, t.exp_weight + long(g) * in * columns,
                columns, rows, in, columns, t.exp_bias + g * columns, 0);
}

// MobiVari of a patch: leaves its input in s.input, the pointwise convolution's in s.mixed and result in s.a, and MobiVari's
// result in `to`, which may be s.a. Where `depthwise` is not null, it gets the result of the depthwise convolution.
template <typename T>
void mix_patch(const Transform& t, const Patch& at, Ahead& ahead, PatchScratch& s, float* to, float* depthwise) {
    const int cip = padded(t.in_channels), ep = padded(t.hidden), cop = padded(t.out_channels);
    read_halo(s.input, static_cast<const T*>(t.attentions), at, t.in_channels);
    const float* source = s.input;
    int source_row = cip;
    if (t.groups) {
        source = s.wide;
        source_row = wide_row(t);
        expand(t, s.wide, s.input, (HALO * HALO + ROWS - 1) / ROWS * ROWS);
        for (int p = 0; p < HALO * HALO; ++p) {
            const bool outside = at.halo_place(p) < 0;
            float* w = s.wide + p * source_row;
            for (int i = 0; i < ep; i += LANES) store(w + i, outside ? Vector{} : leaky(load(w + i)));
        }
    }
    for (int i = 0; i < ep; i += LANES) {
        Vector weight[9];
        for (int j = 0; j < 9; ++j) weight[j] = load(t.dw_weight + j * ep + i);
        const Vector bias = load(t.dw_bias + i);
        for (int p = 0; p < PIXELS; ++p) {
            const float* corner = source + (p / SIDE * HALO + p % SIDE) * source_row + i;
            Vector v = bias;
            for (int j = 0; j < 9; ++j) v += weight[j] * load(corner + (j / 3 * HALO + j % 3) * source_row);
            if (depthwise) store(depthwise + p * ep + i, v);
            const Vector centre = load(corner + (HALO + 1) * source_row);
            store(s.mixed + p * ep + i, t.groups ? leaky(v + centre) : leaky(v) + centre);
        }
    }
    product(s.a, cop, s.mixed, ep, 1, t.pw_weight, cop, PIXELS, t.hidden, cop, t.pw_bias, 0, &ahead);
    for (int p = 0; p < PIXELS; ++p) {
        const float* centre = s.input + in_halo(p) * cip;
        for (int i = 0; i < cop; i += LANES) {
            Vector v = load(s.a + p * cop + i);
            if (!t.groups) v = leaky(v);
            if (t.residual) v += load(centre + i);
            store(to + p * cop + i, v);
        }
    }
}

// The first n lanes; zeros beyond.
INLINE Vector first(Vector v, int n) {
    if (n >= LANES) return v;
    for (int i = n; i < LANES; ++i) v[i] = 0;
    return v;
}

struct Moments {
    float mean, factor;  // the inverse of the standard deviation
};

// Of the n channels of a pixel; what is beyond them in the row is zero.
INLINE Moments moments(const float* x, int n) {
    Vector total{}, squares{};
    for (int i = 0; i < n; i += LANES) total += load(x + i);
    const float mean = sum(total) / n;
    for (int i = 0; i < n; i += LANES) {
        const Vector v = first(load(x + i) - mean, n - i);
        squares += v * v;
    }
    return {mean, 1.0f / std::sqrt(sum(squares) / n + 1e-5f)};
}

// Adds the normalised row to y.
INLINE void add_norm(float* y, const float* x, int n, const float* weight, const float* bias) {
    const Moments m = moments(x, n);
    for (int i = 0; i < n; i += LANES)
        store(y + i, load(y + i) + ((load(x + i) - m.mean) * m.factor * load(weight + i) + load(bias + i)));
}

}  // namespace
