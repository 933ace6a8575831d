// Small matrix products.

#pragma once

#include "prefetch.h"
#include "simd.h"

namespace {

// Rows of a product that are computed together: as many sums as there are registers for.
#ifdef __AVX512F__
constexpr int ROWS = 8;
#else
constexpr int ROWS = 4;
#endif

// y[m, n] = start[m, n] + sum over k of x[m, k] w[k, n], for ROWS rows and N vectors of columns. Names that end in _row
// and _column are strides; start may be null for zeros, and start_row 0 for a bias.
template <int N>
void matmul_tile(float* y, int y_row, const float* x, int x_row, int x_column, const float* w, int w_row, int depth,
                 const float* start, int start_row) {
    Vector total[ROWS][N];
#pragma GCC unroll 8
    for (int m = 0; m < ROWS; ++m)
#pragma GCC unroll 3
        for (int n = 0; n < N; ++n) total[m][n] = start ? load(start + m * start_row + n * LANES) : Vector{};
    // x86 addresses reach three more rows by a scaled stride: every fourth row needs a pointer.
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

// The same for any number of columns (a multiple of LANES) and rows (a multiple of ROWS). Calls the prefetcher
// rows / ROWS times.
void matmul(float* y, int y_row, const float* x, int x_row, int x_column, const float* w, int w_row, int rows,
            int depth, int columns, const float* start, int start_row, Prefetcher* prefetcher = nullptr) {
    int n = 0;
    for (int left = columns / LANES; left > 0;) {
        const int width = left >= 3 && left != 4 ? 3 : left >= 2 ? 2 : 1;
        const auto tile = width == 3 ? matmul_tile<3> : width == 2 ? matmul_tile<2> : matmul_tile<1>;
        for (int m = 0; m < rows; m += ROWS) {
            const float* s = start ? start + m * start_row + n : nullptr;
            tile(y + m * y_row + n, y_row, x + m * x_row, x_row, x_column, w + n, w_row, depth, s, start_row);
            if (prefetcher && n == 0) prefetcher->next();
        }
        n += width * LANES;
        left -= width;
    }
}

}  // namespace
