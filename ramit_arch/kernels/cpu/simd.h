// Vectors of floats, for AVX-512 or AVX2 as the compiler is told: load, store, bfloat16, exp, GELU, sums.

#pragma once

#include "abi.h"

#include <immintrin.h>
#include <cstdint>
#include <cstring>

namespace {

#ifdef __AVX512F__
constexpr int LANES = 16;  // floats of a vector
#else
constexpr int LANES = 8;
#endif
static_assert(PADDING % LANES == 0);

// Numbers of channels and of pixels.
constexpr int SIDE = WINDOW_SIZE;
constexpr int PIXELS = SIDE * SIDE;
constexpr int MAX_ROW = 512;  // floats of a pixel in working memory
static_assert(MAX_CHANNELS + 2 * PADDING <= MAX_ROW && MAX_CHANNELS % PADDING == 0);  // see expanded_row

constexpr float MIN_SQUARED_NORM = 1e-24f;  // lower bound of the squared L2 norm of queries and keys

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t IntVector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE Vector load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
INLINE void store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }
INLINE Vector broadcast(float value) { return Vector{} + value; }
INLINE int padded(int n) { return (n + PADDING - 1) / PADDING * PADDING; }

// bfloat16, as uint16_t, is the upper half of a float.
typedef uint32_t Bits __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
INLINE Vector load(const uint16_t* p) {
    return reinterpret_cast<Vector>(__builtin_convertvector(*reinterpret_cast<const Halves*>(p), Bits) << 16);
}
INLINE void store(uint16_t* p, Vector v) {
    const Bits bits = reinterpret_cast<Bits>(v);
    const Bits rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    *reinterpret_cast<Halves*>(p) = __builtin_convertvector(v == v ? rounded : Bits{} + 0x7fc0, Halves);
}

// Copies n numbers and converts them; nothing beyond them is read or written.
template <typename From, typename To> INLINE void copy(To* to, const From* from, int n) {
    int i = 0;
    for (; i + LANES <= n; i += LANES) store(to + i, load(from + i));
    if (i == n) return;
    From in[LANES] = {};
    To out[LANES];
    std::memcpy(in, from + i, sizeof(From) * (n - i));
    store(out, load(in));
    std::memcpy(to + i, out, sizeof(To) * (n - i));
}

// max(a, b); b if either is NaN.
INLINE Vector larger(Vector a, Vector b) { return a > b ? a : b; }

// e^x for x up to 88, to 2 units in the last place; cdf -87 it is 0 or next to it.
INLINE Vector exp(Vector x) {
    x = larger(broadcast(-87.0f), x);
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
    Vector n = x * 1.44269504f + magic;
    const IntVector power = reinterpret_cast<IntVector>(n) << 23;
    n -= magic;
    const Vector r = x * 1.44269504f - n;
    // 2^r for r from -1/2 to 1/2
    Vector p = broadcast(1.327647129e-3f);
    p = p * r + 9.675540961e-3f;
    p = p * r + 5.550713092e-2f;
    p = p * r + 2.402212024e-1f;
    p = p * r + 6.931469440e-1f;
    p = p * r + 1.000000119f;
    return reinterpret_cast<Vector>(reinterpret_cast<IntVector>(p) + power);
}

// 1 / x to 2 units in the last place, with less latency than a division; x and 1 / x must be normal numbers.
INLINE Vector reciprocal(Vector x) {
#ifdef __AVX512F__
    Vector r = reinterpret_cast<Vector>(_mm512_maskz_rcp14_ps(0xffff, reinterpret_cast<__m512>(x)));
#else
    Vector r = reinterpret_cast<Vector>(_mm256_rcp_ps(reinterpret_cast<__m256>(x)));
    r *= 2.0f - x * r;
#endif
    return r * (2.0f - x * r);
}

// erf(x / sqrt 2) as a quotient of polynomials, to 3 units in the last place.
INLINE Vector scaled_erf(Vector x) {
    Vector a = x * 0.70710678f;
    a = a > 3.8325069f ? broadcast(3.8325069f) : a < -3.8325069f ? broadcast(-3.8325069f) : a;
    const Vector s = a * a;
    Vector p = broadcast(-2.72614225801306e-10f);
    p = p * s + 2.77068142495902e-08f;
    p = p * s - 2.10102402082508e-06f;
    p = p * s - 5.69250639462346e-05f;
    p = p * s - 7.34990630326855e-04f;
    p = p * s - 2.95459980854025e-03f;
    p = p * s - 1.60960333262415e-02f;
    Vector q = broadcast(-1.45660718464996e-05f);
    q = q * s - 2.13374055278905e-04f;
    q = q * s - 1.68282697438203e-03f;
    q = q * s - 7.37332916720468e-03f;
    q = q * s - 1.42647390514189e-02f;
    return a * p * reciprocal(q);
}

INLINE Vector gelu(Vector x) { return 0.5f * x + 0.5f * x * scaled_erf(x); }

struct Gelu {
    Vector value, slope;
};
INLINE Gelu gelu_and_slope(Vector x) {
    const Vector cdf = 0.5f + 0.5f * scaled_erf(x);  // distribution function of the normal distribution
    return {x * cdf, cdf + x * 0.39894228f * exp(-0.5f * x * x)};
}

// Slope 0.01.
INLINE Vector leaky_relu(Vector x) { return x < 0.0f ? x * 0.01f : x; }

// Parts of a vector, for sums across it: 8 and 4 floats.
typedef float Quarter __attribute__((vector_size(16)));
#ifdef __AVX512F__
typedef float Half __attribute__((vector_size(32)));
INLINE Half lower(Vector v) { return __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7); }
INLINE Half upper(Vector v) { return __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15); }
INLINE Half fold(Vector v) { return lower(v) + upper(v); }
#else
typedef Vector Half;
INLINE Half fold(Vector v) { return v; }
#endif
INLINE Quarter lower_half(Half v) { return __builtin_shufflevector(v, v, 0, 1, 2, 3); }
INLINE Quarter upper_half(Half v) { return __builtin_shufflevector(v, v, 4, 5, 6, 7); }

// Sum of all lanes.
INLINE float sum(Vector v) {
    const Half h = fold(v);
    const Quarter q = lower_half(h) + upper_half(h);
    return (q[0] + q[2]) + (q[1] + q[3]);
}

}  // namespace
