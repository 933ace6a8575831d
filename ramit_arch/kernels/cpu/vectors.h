// What the kernels share: vectors, bfloat16, exp, GELU, small matrix products, threads.
//
// "Panels" are weight matrices for products y = x w: (rows of w = channels of x) x (columns), the columns padded with zeros
// to a multiple of PANEL. Vectors of channels are padded likewise.

#pragma once

#include <cstdint>
#include <cstring>
#include <immintrin.h>
#include <memory>
#ifdef _OPENMP
#include <omp.h>
#endif

namespace {

#ifdef __AVX512F__
constexpr int LANES = 16;    // floats of a vector
constexpr int ROWS = 8;      // of a matrix product that are worked on together: as many sums as there are registers for
#else
constexpr int LANES = 8;
constexpr int ROWS = 4;
#endif
constexpr int PANEL = 16;    // what numbers of channels are padded to, with vectors of either size
constexpr int SIDE = 8;      // of a window and of a patch, in pixels
constexpr int PIXELS = SIDE * SIDE;
constexpr int HALO = SIDE + 2;
constexpr int MOST = 512;    // channels, padded, of anything here
constexpr float SMALLEST_SQUARE = 1e-24f;

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t IntVector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))


INLINE Vector load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
INLINE void store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }
INLINE Vector all(float value) { return Vector{} + value; }
INLINE int padded(int n) { return (n + PANEL - 1) / PANEL * PANEL; }

// bfloat16 is the upper half of a float.
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

// n numbers between a map and working memory; the rest of a vector is left as it is.
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

// Where one of two is no number, the second.
INLINE Vector larger(Vector a, Vector b) { return a > b ? a : b; }

// e^x for x up to 88, to 2 units in the last place; below -87 it is 0 or next to it.
INLINE Vector exponential(Vector x) {
    x = larger(all(-87.0f), x);
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
    Vector n = x * 1.44269504f + magic;
    const IntVector power = reinterpret_cast<IntVector>(n) << 23;
    n -= magic;
    const Vector r = x * 1.44269504f - n;
    // 2^r for r from -1/2 to 1/2
    Vector p = all(1.327647129e-3f);
    p = p * r + 9.675540961e-3f;
    p = p * r + 5.550713092e-2f;
    p = p * r + 2.402212024e-1f;
    p = p * r + 6.931469440e-1f;
    p = p * r + 1.000000119f;
    return reinterpret_cast<Vector>(reinterpret_cast<IntVector>(p) + power);
}

// 1 / x to 2 units in the last place, without the long wait for a division; for x of ordinary size.
INLINE Vector inverse(Vector x) {
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
    a = a > 3.8325069f ? all(3.8325069f) : a < -3.8325069f ? all(-3.8325069f) : a;
    const Vector s = a * a;
    Vector p = all(-2.72614225801306e-10f);
    p = p * s + 2.77068142495902e-08f;
    p = p * s - 2.10102402082508e-06f;
    p = p * s - 5.69250639462346e-05f;
    p = p * s - 7.34990630326855e-04f;
    p = p * s - 2.95459980854025e-03f;
    p = p * s - 1.60960333262415e-02f;
    Vector q = all(-1.45660718464996e-05f);
    q = q * s - 2.13374055278905e-04f;
    q = q * s - 1.68282697438203e-03f;
    q = q * s - 7.37332916720468e-03f;
    q = q * s - 1.42647390514189e-02f;
    return a * p * inverse(q);
}

INLINE Vector gelu(Vector x) { return 0.5f * x + 0.5f * x * scaled_erf(x); }

struct Gelu {
    Vector value, slope;
};
INLINE Gelu gelu_and_slope(Vector x) {
    const Vector below = 0.5f + 0.5f * scaled_erf(x);  // the share of the normal distribution
    return {x * below, below + x * 0.39894228f * exponential(-0.5f * x * x)};
}

INLINE Vector leaky(Vector x) { return x < 0.0f ? x * 0.01f : x; }

typedef float Quarter __attribute__((vector_size(16)));
#ifdef __AVX512F__
typedef float Half __attribute__((vector_size(32)));
INLINE Half lower(Vector v) { return __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7); }
INLINE Half upper(Vector v) { return __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15); }
INLINE Half halved(Vector v) { return lower(v) + upper(v); }
#else
typedef Vector Half;
INLINE Half halved(Vector v) { return v; }
#endif
INLINE Quarter lower_half(Half v) { return __builtin_shufflevector(v, v, 0, 1, 2, 3); }
INLINE Quarter upper_half(Half v) { return __builtin_shufflevector(v, v, 4, 5, 6, 7); }

INLINE float sum(Vector v) {
    const Half h = halved(v);
    const Quarter q = lower_half(h) + upper_half(h);
    return (q[0] + q[2]) + (q[1] + q[3]);
}
// y[m, n] = start[n] + sum over k of x[m, k] w[k, n], for ROWS rows and N vectors of columns. x and start have any strides.
template <int N>
void product_tile(float* y, int y_row, const float* x, int x_row, int x_column, const float* w, int w_row, int depth,
                         const float* start, int start_row) {
    Vector total[ROWS][N];
#pragma GCC unroll 8
    for (int m = 0; m < ROWS; ++m)
#pragma GCC unroll 3
        for (int n = 0; n < N; ++n) total[m][n] = start ? load(start + m * start_row + n * LANES) : Vector{};
    // A processor's addresses can have one of four offsets without further instructions: every fourth row gets a pointer.
    const float* fourth[ROWS / 4];
#pragma GCC unroll 2
    for (int i = 0; i < ROWS / 4; ++i) fourth[i] = x + 4 * i * long(x_row);
    const long stride = x_row;
    for (int k = 0; k < depth; ++k, w += w_row) {
        Vector row[N];
#pragma GCC unroll 3
        for (int n = 0; n < N; ++n) row[n] = load(w + n * LANES);
#pragma GCC unroll 8
        for (int m = 0; m < ROWS; ++m) {
            const float factor = fourth[m / 4][m % 4 * stride];
#pragma GCC unroll 3
            for (int n = 0; n < N; ++n) total[m][n] += factor * row[n];
        }
#pragma GCC unroll 2
        for (int i = 0; i < ROWS / 4; ++i) fourth[i] += x_column;
    }
#pragma GCC unroll 8
    for (int m = 0; m < ROWS; ++m)
#pragma GCC unroll 3
        for (int n = 0; n < N; ++n) store(y + m * y_row + n * LANES, total[m][n]);
}

// Brings what the next window or patch needs into the second level cache, bit by bit while this one is computed: its rows
// lie far apart in memory, where the processor does not foresee them, and waiting would take up to a quarter of the time.
class Ahead {
  public:
    // steps: how often `next` will be called.
    explicit Ahead(int steps) : steps(steps) {}

    template <typename T> void add(const T* first, long n) {
        const char* begin = reinterpret_cast<const char*>(first);
        if (count == MOST_RANGES) return;
        ranges[count++] = {begin, begin + n * long(sizeof(T))};
        lines += n * long(sizeof(T)) / LINE + 1;
    }
    void next() {
        for (long left = lines / steps + 1; left > 0 && current < count; --left) {
            Range& range = ranges[current];
            __builtin_prefetch(range.begin, 0, 2);
            range.begin += LINE;
            if (range.begin >= range.end) ++current;
        }
    }

  private:
    static constexpr int LINE = 64;  // bytes of a cache line
    static constexpr int MOST_RANGES = 64;
    struct Range {
        const char *begin, *end;
    };
    Range ranges[MOST_RANGES];
    int count = 0, current = 0;
    long lines = 0;
    const int steps;
};

// The same for any number of columns (a multiple of LANES) and rows (a multiple of ROWS); looks ahead rows / ROWS times.
void product(float* y, int y_row, const float* x, int x_row, int x_column, const float* w, int w_row, int rows, int depth,
             int columns, const float* start, int start_row, Ahead* ahead = nullptr) {
    int n = 0;
    for (int left = columns / LANES; left > 0;) {
        const int width = left >= 3 && left != 4 ? 3 : left >= 2 ? 2 : 1;
        const auto tile = width == 3 ? product_tile<3> : width == 2 ? product_tile<2> : product_tile<1>;
        for (int m = 0; m < rows; m += ROWS) {
            const float* s = start ? start + m * start_row + n : nullptr;
            tile(y + m * y_row + n, y_row, x + m * x_row, x_row, x_column, w + n, w_row, depth, s, start_row);
            if (ahead && n == 0) ahead->next();
        }
        n += width * LANES;
        left -= width;
    }
}

// Calls function(begin, end, thread) on as many threads, each with its share of the range.
template <typename F> void share_out(int total, int threads, F function) {
#pragma omp parallel num_threads(threads)
    {
        int id = 0, team = 1;
#ifdef _OPENMP
        id = omp_get_thread_num();
        team = omp_get_num_threads();
#endif
        const int begin = int(long(total) * id / team), end = int(long(total) * (id + 1) / team);
        if (begin < end) function(begin, end, id);
    }
}

// Working memory of a thread, kept for its next call.
template <typename S> S& scratch() {
    static thread_local std::unique_ptr<S> memory(new S());
    return *memory;
}

}  // namespace
