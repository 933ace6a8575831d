// Cosine attention of one head within a window.
//
// Scores are held as (keys, queries): maxima and sums over the keys then need no sums across a vector.

#pragma once

#include "vectors.h"

#include <cmath>
#include <type_traits>

namespace {

constexpr int MOST_DIM = 64;  // channels of a head, padded

// A head of a window: rows of its channels padded with zeros.
struct Head {
    alignas(64) float q[PIXELS * MOST_DIM];
    alignas(64) float k[PIXELS * MOST_DIM];
    alignas(64) float v[PIXELS * MOST_DIM];
    alignas(64) float gate[PIXELS * MOST_DIM];
    alignas(64) float y[PIXELS * MOST_DIM];
    // Transposed: (channels, queries).
    alignas(64) float columns[PIXELS * MOST_DIM];
    // (keys, queries)
    alignas(64) float scores[PIXELS * PIXELS];
    // One number a query or a key.
    alignas(64) float q_inverse[PIXELS];  // of the length
    alignas(64) float k_inverse[PIXELS];
    alignas(64) float inverse[PIXELS];    // of the sum of the softmax
};

// Calls the function with the channels of a head, padded to what the rest is written for, as a constant.
template <typename F> void with_padded(int head_dim, F function) {
    if (head_dim <= 16)
        function(std::integral_constant<int, 16>());
    else if (head_dim <= 32)
        function(std::integral_constant<int, 32>());
    else
        function(std::integral_constant<int, MOST_DIM>());
}

// Shuffles the two like cards, a0 b0 a1 b1 ...: first and second half. Written for vectors of 16 and of 8.
template <typename V> INLINE V first_shuffled(V a, V b) {
    if constexpr (sizeof(V) == 64)
        return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    else
        return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}
template <typename V> INLINE V second_shuffled(V a, V b) {
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
                    b[2 * i] = first_shuffled(a[i], a[i + LANES / 2]);
                    b[2 * i + 1] = second_shuffled(a[i], a[i + LANES / 2]);
                }
#pragma GCC unroll 16
                for (int i = 0; i < LANES; ++i) a[i] = b[i];
            }
#pragma GCC unroll 16
            for (int i = 0; i < LANES; ++i) store(to + (c + i) * PIXELS + t, a[i] * factor);
        }
}

// Sums of the products of each row of a and the same row of b, (PIXELS, P) each. Half the lanes are folded onto the
// other half in each round, for two rows at once.
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
                r[i] = first_shuffled(r[i], r[i + half]) + second_shuffled(r[i], r[i + half]);
        store(sums + t, r[0]);
    }
}

// D numbers of each pixel, or d where D is 0.
template <int D> void copy_rows(float* to, int to_row, const float* from, int from_row, int d) {
    const size_t bytes = sizeof(float) * (D ? D : d);
    for (int t = 0; t < PIXELS; ++t) std::memcpy(to + long(t) * to_row, from + long(t) * from_row, bytes);
}
void copy_rows(float* to, int to_row, const float* from, int from_row, int d) {
    // Sizes known to the compiler are a few moves; these two are those of the published networks.
    (d == 16 ? copy_rows<16> : d == 12 ? copy_rows<12> : copy_rows<0>)(to, to_row, from, from_row, d);
}
// The same, padded with zeros to P.
template <int P> void pick(float* to, const float* from, int row, int d) {
    if (d < P) std::memset(to, 0, sizeof(float) * PIXELS * P);
    copy_rows(to, P, from, row, d);
}

template <int P> void multiply(float* to, const float* a, const float* b) {
    for (int i = 0; i < PIXELS * P; i += LANES) store(to + i, load(a + i) * load(b + i));
}

// Each row multiplied by its own factor.
template <int P> void scale_rows(float* x, const float* factors) {
    for (int t = 0; t < PIXELS; ++t)
        for (int i = 0; i < P; i += LANES) store(x + t * P + i, load(x + t * P + i) * factors[t]);
}

void invert_lengths(float* inverse, const float* squares) {
    for (int t = 0; t < PIXELS; ++t) inverse[t] = 1.0f / std::sqrt(squares[t] > SMALLEST_SQUARE ? squares[t] : SMALLEST_SQUARE);
}

// Leaves e^(score - largest) of each query in s.scores and the inverse of its sum in s.inverse; s.q and s.k get
// length 1.
template <int P> void score(const float* bias, float scale, int d, Ahead& ahead, Head& s) {
    dot_rows<P>(s.q_inverse, s.q, s.q);
    dot_rows<P>(s.k_inverse, s.k, s.k);
    invert_lengths(s.q_inverse, s.q_inverse);
    invert_lengths(s.k_inverse, s.k_inverse);
    scale_rows<P>(s.q, s.q_inverse);
    scale_rows<P>(s.k, s.k_inverse);
    transpose<P>(s.columns, s.q, scale);
    product(s.scores, PIXELS, s.k, P, 1, s.columns, PIXELS, PIXELS, d, PIXELS, bias, PIXELS, &ahead);
    for (int i = 0; i < PIXELS; i += 2 * LANES) {
        float* column = s.scores + i;
        Vector best0 = load(column), best1 = load(column + LANES);
        for (int j = 1; j < PIXELS; ++j) {
            best0 = larger(best0, load(column + j * PIXELS));
            best1 = larger(best1, load(column + j * PIXELS + LANES));
        }
        Vector total0{}, total1{};
        for (int j = 0; j < PIXELS; ++j) {
            const Vector e0 = exponential(load(column + j * PIXELS) - best0);
            const Vector e1 = exponential(load(column + j * PIXELS + LANES) - best1);
            total0 += e0;
            total1 += e1;
            store(column + j * PIXELS, e0);
            store(column + j * PIXELS + LANES, e1);
        }
        store(s.inverse + i, 1.0f / total0);
        store(s.inverse + i + LANES, 1.0f / total1);
    }
}

// From q, k, v: `score`, then y.
template <int P> void attend_head(const float* bias, float scale, int d, Ahead& ahead, Head& s) {
    score<P>(bias, scale, d, ahead, s);
    product(s.y, P, s.scores, 1, PIXELS, s.v, P, PIXELS, PIXELS, P, nullptr, 0, &ahead);
    scale_rows<P>(s.y, s.inverse);
}

}  // namespace
