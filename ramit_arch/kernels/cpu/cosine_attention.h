// Cosine attention of one head within a window.
//
// Scores are held as (keys, queries): maxima and sums over the keys then need no sums across a vector.

#pragma once

#include "matmul.h"

#include <cmath>
#include <type_traits>

namespace {

// One head in one window: a row for each pixel, its channels padded with zeros.
struct Head {
    alignas(64) float q[PIXELS * MAX_HEAD_DIM];
    alignas(64) float k[PIXELS * MAX_HEAD_DIM];
    alignas(64) float v[PIXELS * MAX_HEAD_DIM];
    alignas(64) float gate[PIXELS * MAX_HEAD_DIM];
    alignas(64) float y[PIXELS * MAX_HEAD_DIM];
    alignas(64) float columns[PIXELS * MAX_HEAD_DIM];  // transposed: (channels, queries)
    alignas(64) float scores[PIXELS * PIXELS];         // (keys, queries)
    // For each query or key:
    alignas(64) float q_inverse_norm[PIXELS];
    alignas(64) float k_inverse_norm[PIXELS];
    alignas(64) float inverse_sum[PIXELS];  // 1 / sum over the keys of e^(score - max)
};

// Calls the function with the padded number of channels of a head, P below, as a constant.
template <typename F> void with_padded_head_dim(int head_dim, F function) {
    if (head_dim <= 16)
        function(std::integral_constant<int, 16>());
    else if (head_dim <= 32)
        function(std::integral_constant<int, 32>());
    else
        function(std::integral_constant<int, MAX_HEAD_DIM>());
}

// The lower and the upper half of a0 b0 a1 b1 ..., for vectors of 16 and of 8.
template <typename V> INLINE V interleave_low(V a, V b) {
    if constexpr (sizeof(V) == 64)
        return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    else
        return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}
template <typename V> INLINE V interleave_high(V a, V b) {
    if constexpr (sizeof(V) == 64)
        return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    else
        return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}

// (PIXELS, P) -> (P, PIXELS), multiplied by a factor.
template <int P> void transpose(float* to, const float* from, float factor) {
    for (int t = 0; t < PIXELS; t += LANES)
        for (int c = 0; c < P; c += LANES) {
            Vector a[LANES], b[LANES];
#pragma GCC unroll 16
            for (int i = 0; i < LANES; ++i) a[i] = load(from + (t + i) * P + c);
        // After log2(LANES) rounds rows are columns.
#pragma GCC unroll 4
            for (int round = 1; round < LANES; round *= 2) {
#pragma GCC unroll 8
                for (int i = 0; i < LANES / 2; ++i) {
                    b[2 * i] = interleave_low(a[i], a[i + LANES / 2]);
                    b[2 * i + 1] = interleave_high(a[i], a[i + LANES / 2]);
                }
#pragma GCC unroll 16
                for (int i = 0; i < LANES; ++i) a[i] = b[i];
            }
#pragma GCC unroll 16
            for (int i = 0; i < LANES; ++i) store(to + (c + i) * PIXELS + t, a[i] * factor);
        }
}

// Dot products of each row of a and the same row of b, (PIXELS, P) each. Each round folds half of the lanes onto the
// other half, for two rows at once.
template <int P> void dot_rows(float* sums, const float* a, const float* b) {
    for (int t = 0; t < PIXELS; t += LANES) {
        Vector r[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; ++i) {
            const int place = (t + i) * P;
            r[i] = load(a + place) * load(b + place);
            for (int c = LANES; c < P; c += LANES) r[i] += load(a + place + c) * load(b + place + c);
        }
#pragma GCC unroll 4
        for (int half = LANES / 2; half > 0; half /= 2)
#pragma GCC unroll 8
            for (int i = 0; i < half; ++i)
                r[i] = interleave_low(r[i], r[i + half]) + interleave_high(r[i], r[i + half]);
        store(sums + t, r[0]);
    }
}

// Copies D numbers of each pixel, or d if D is 0.
template <int D> void copy_rows(float* to, int to_row, const float* from, int from_row, int d) {
    const size_t bytes = sizeof(float) * (D ? D : d);
    for (int t = 0; t < PIXELS; ++t) std::memcpy(to + long(t) * to_row, from + long(t) * from_row, bytes);
}
void copy_rows(float* to, int to_row, const float* from, int from_row, int d) {
    // A size known to the compiler becomes a few moves; the published networks have these two.
    (d == 16 ? copy_rows<16> : d == 12 ? copy_rows<12> : copy_rows<0>)(to, to_row, from, from_row, d);
}
// Copies d channels of each pixel into rows padded with zeros to P.
template <int P> void gather_head(float* to, const float* from, int row, int d) {
    if (d < P) std::memset(to, 0, sizeof(float) * PIXELS * P);
    copy_rows(to, P, from, row, d);
}

template <int P> void multiply(float* to, const float* a, const float* b) {
    for (int i = 0; i < PIXELS * P; i += LANES) store(to + i, load(a + i) * load(b + i));
}

// Multiplies each row by its own factor.
template <int P> void scale_rows(float* x, const float* factors) {
    for (int t = 0; t < PIXELS; ++t)
        for (int i = 0; i < P; i += LANES) store(x + t * P + i, load(x + t * P + i) * factors[t]);
}

// 1 / max(|x|, 1e-12), from |x|^2.
void inverse_norms(float* inverse, const float* squares) {
    for (int t = 0; t < PIXELS; ++t)
        inverse[t] = 1.0f / std::sqrt(squares[t] > MIN_SQUARED_NORM ? squares[t] : MIN_SQUARED_NORM);
}

// From q and k: normalizes them in place, and leaves e^(score - max) in s.scores and the inverse of its sums over the
// keys in s.inverse_sum.
template <int P> void score(const float* bias, float scale, int d, Prefetcher& prefetcher, Head& s) {
    dot_rows<P>(s.q_inverse_norm, s.q, s.q);
    dot_rows<P>(s.k_inverse_norm, s.k, s.k);
    inverse_norms(s.q_inverse_norm, s.q_inverse_norm);
    inverse_norms(s.k_inverse_norm, s.k_inverse_norm);
    scale_rows<P>(s.q, s.q_inverse_norm);
    scale_rows<P>(s.k, s.k_inverse_norm);
    transpose<P>(s.columns, s.q, scale);
    matmul(s.scores, PIXELS, s.k, P, 1, s.columns, PIXELS, PIXELS, d, PIXELS, bias, PIXELS, &prefetcher);
    for (int i = 0; i < PIXELS; i += 2 * LANES) {
        float* column = s.scores + i;
        Vector max0 = load(column), max1 = load(column + LANES);
        for (int j = 1; j < PIXELS; ++j) {
            max0 = larger(max0, load(column + j * PIXELS));
            max1 = larger(max1, load(column + j * PIXELS + LANES));
        }
        Vector total0{}, total1{};
        for (int j = 0; j < PIXELS; ++j) {
            const Vector e0 = exp(load(column + j * PIXELS) - max0);
            const Vector e1 = exp(load(column + j * PIXELS + LANES) - max1);
            total0 += e0;
            total1 += e1;
            store(column + j * PIXELS, e0);
            store(column + j * PIXELS + LANES, e1);
        }
        store(s.inverse_sum + i, 1.0f / total0);
        store(s.inverse_sum + i + LANES, 1.0f / total1);
    }
}

// From q, k and v: `score`, then the result in s.y.
template <int P> void attend_head(const float* bias, float scale, int d, Prefetcher& prefetcher, Head& s) {
    score<P>(bias, scale, d, prefetcher, s);
    matmul(s.y, P, s.scores, 1, PIXELS, s.v, P, PIXELS, PIXELS, P, nullptr, 0, &prefetcher);
    scale_rows<P>(s.y, s.inverse_sum);
}

}  // namespace
