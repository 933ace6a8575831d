// Layer normalization over the channels of a pixel.

#pragma once

#include "simd.h"

#include <cmath>

namespace {

// The first n lanes; zeros beyond.
INLINE Vector first_lanes(Vector v, int n) {
    if (n >= LANES) return v;
    for (int i = n; i < LANES; ++i) v[i] = 0;
    return v;
}

struct Moments {
    float mean, inverse_std;
};

// Moments of the n channels of a pixel; the padding of the row is zero.
INLINE Moments moments(const float* x, int n) {
    Vector total{}, squares{};
    for (int i = 0; i < n; i += LANES) total += load(x + i);
    const float mean = sum(total) / n;
    for (int i = 0; i < n; i += LANES) {
        const Vector v = first_lanes(load(x + i) - mean, n - i);
        squares += v * v;
    }
    return {mean, 1.0f / std::sqrt(sum(squares) / n + 1e-5f)};
}

// y += LayerNorm(x) for one pixel.
INLINE void add_norm(float* y, const float* x, int n, const float* weight, const float* bias) {
    const Moments m = moments(x, n);
    for (int i = 0; i < n; i += LANES)
        store(y + i, load(y + i) + ((load(x + i) - m.mean) * m.inverse_std * load(weight + i) + load(bias + i)));
}

}  // namespace
