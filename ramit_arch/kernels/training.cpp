// Cosine attention within windows for training on a CPU, float32: forward, and a backward pass that computes scores and
// softmax anew, window by window, while they are in the first or second level cache. Nothing else is kept in between.
//
// Scores are held as (keys, queries): maxima and sums over the keys then need no sums across a vector.

#include "vectors.h"

#include <cmath>

extern "C" {

struct WindowAttention {
    int windows, heads, head_dim, row;
    const float* qkv;    // (windows, PIXELS, row): q of all heads, then k, then v; columns beyond are not looked at
    const float* gate;   // (windows, PIXELS, head_dim) or null: multiplies v of every head
    const float* scale;  // heads
    const float* bias;   // (heads, PIXELS keys, PIXELS queries)
    float* y;            // (windows, PIXELS, heads head_dim); the backward pass neither reads nor writes it
};

struct WindowAttentionGradients {
    const float* y;  // as above
    float* qkv;      // as above; columns beyond q, k and v become zero
    float* gate;     // as above, null where there is no gate
    double* scale;   // (threads, heads), zeros at first: each thread adds up its own windows
    float* bias;     // (threads, heads, PIXELS keys, PIXELS queries), likewise
};
}

namespace {

constexpr int MOST_DIM = 32, USUAL_DIM = 16;  // channels of a head, padded
constexpr float LONGEST_INVERSE = 0.9999e12f;  // of a length; where it is more, the vector was divided by a constant

struct AttentionScratch {
    // One head of a window, rows of its channels padded with zeros.
    alignas(64) float q[PIXELS * MOST_DIM];
    alignas(64) float k[PIXELS * MOST_DIM];
    alignas(64) float v[PIXELS * MOST_DIM];
    alignas(64) float raw_v[PIXELS * MOST_DIM];  // before the gate
    alignas(64) float gate[PIXELS * MOST_DIM];
    alignas(64) float g[PIXELS * MOST_DIM];      // gradient of y
    alignas(64) float dq[PIXELS * MOST_DIM];     // in the forward pass: y
    alignas(64) float dk[PIXELS * MOST_DIM];
    alignas(64) float dv[PIXELS * MOST_DIM];
    alignas(64) float dgate[PIXELS * MOST_DIM];
    // Transposed: (channels, queries).
    alignas(64) float columns[PIXELS * MOST_DIM];
    // (keys, queries)
    alignas(64) float scores[PIXELS * PIXELS];
    alignas(64) float dscores[PIXELS * PIXELS];
    // One number a query or a key.
    alignas(64) float q_inverse[PIXELS];  // of the length
    alignas(64) float k_inverse[PIXELS];
    alignas(64) float q_along[PIXELS];    // of the gradient, along q
    alignas(64) float k_along[PIXELS];
    alignas(64) float inverse[PIXELS];    // of the sum of the softmax
};

INLINE Vector larger(Vector a, Vector b) { return a > b ? a : b; }

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
    for (int t = 0; t < PIXELS; ++t) inverse[t] = 1.0f / std::sqrt(larger(squares[t], SMALLEST_SQUARE));
}

// Brings what the next window needs into the cache, bit by bit while this one is computed: the channels of a head lie
// far apart in memory, where the processor does not foresee them, and waiting would take a quarter of the time.
class Ahead {
  public:
    // steps: how often `next` will be called.
    explicit Ahead(int steps) : steps(steps) {}

    void add(const float* first, long floats) {
        const long bytes = floats * long(sizeof(float));
        const char* begin = reinterpret_cast<const char*>(first);
        ranges[count++] = {begin, begin + bytes, (bytes / steps / LINE + 1) * LINE};
    }
    void next() {
        for (int r = 0; r < count; ++r) {
            Range& range = ranges[r];
            const char* end = range.end - range.begin > range.step ? range.begin + range.step : range.end;
            for (; range.begin < end; range.begin += LINE) __builtin_prefetch(range.begin);
        }
    }

  private:
    static constexpr int LINE = 64;  // bytes of a cache line
    struct Range {
        const char *begin, *end;
        long step;
    };
    Range ranges[5];
    int count = 0;
    const int steps;
};

// A product with PIXELS rows that looks ahead between its tiles; start has the rows of y, or is null.
void product_ahead(Ahead& ahead, float* y, int y_row, const float* x, int x_row, int x_column, const float* w,
                   int w_row, int depth, int columns, const float* start) {
    for (int m = 0; m < PIXELS; m += ROWS) {
        product(y + m * y_row, y_row, x + m * x_row, x_row, x_column, w, w_row, ROWS, depth, columns,
                start ? start + m * y_row : nullptr, y_row);
        ahead.next();
    }
}

// Leaves e^(score - largest) of each query in s.scores and the inverse of its sum in s.inverse; s.q and s.k get
// length 1.
template <int P> void score(const float* bias, float scale, int d, Ahead& ahead, AttentionScratch& s) {
    dot_rows<P>(s.q_inverse, s.q, s.q);
    dot_rows<P>(s.k_inverse, s.k, s.k);
    invert_lengths(s.q_inverse, s.q_inverse);
    invert_lengths(s.k_inverse, s.k_inverse);
    scale_rows<P>(s.q, s.q_inverse);
    scale_rows<P>(s.k, s.k_inverse);
    transpose<P>(s.columns, s.q, scale);
    product_ahead(ahead, s.scores, PIXELS, s.k, P, 1, s.columns, PIXELS, d, PIXELS, bias);
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

template <int P> void pick_head(const WindowAttention& a, const float* qkv, int head, AttentionScratch& s) {
    const int d = a.head_dim, all_heads = a.heads * d;
    pick<P>(s.q, qkv + head * d, a.row, d);
    pick<P>(s.k, qkv + all_heads + head * d, a.row, d);
    pick<P>(s.v, qkv + 2 * all_heads + head * d, a.row, d);
}

template <int P> void forward_range(const WindowAttention& a, int begin, int end, AttentionScratch& s) {
    const int d = a.head_dim, all_heads = a.heads * d;
    for (int window = begin; window < end; ++window) {
        const float* qkv = a.qkv + long(window) * PIXELS * a.row;
        float* y = a.y + long(window) * PIXELS * all_heads;
        if (a.gate) pick<P>(s.gate, a.gate + long(window) * PIXELS * d, d, d);
        Ahead ahead(2 * a.heads * (PIXELS / ROWS));  // two products
        if (window + 1 < end) {
            ahead.add(qkv + PIXELS * a.row, PIXELS * a.row);
            if (a.gate) ahead.add(a.gate + long(window + 1) * PIXELS * d, PIXELS * d);
            ahead.add(y + PIXELS * all_heads, PIXELS * all_heads);
        }
        for (int h = 0; h < a.heads; ++h) {
            pick_head<P>(a, qkv, h, s);
            if (a.gate) multiply<P>(s.v, s.v, s.gate);
            score<P>(a.bias + h * PIXELS * PIXELS, a.scale[h], d, ahead, s);
            product_ahead(ahead, s.dq, P, s.scores, 1, PIXELS, s.v, P, PIXELS, P, nullptr);
            scale_rows<P>(s.dq, s.inverse);
            copy_rows(y + h * d, all_heads, s.dq, P, d);
        }
    }
}

// From the gradient of e^(scores), in s.dscores, to that of the scores, which is added to dbias too.
void differentiate_softmax(float* dbias, AttentionScratch& s) {
    for (int i = 0; i < PIXELS; i += 2 * LANES) {
        const float* e = s.scores + i;
        float* g = s.dscores + i;
        float* b = dbias + i;
        Vector mean0{}, mean1{};
        for (int j = 0; j < PIXELS; ++j) {
            mean0 += load(e + j * PIXELS) * load(g + j * PIXELS);
            mean1 += load(e + j * PIXELS + LANES) * load(g + j * PIXELS + LANES);
        }
        mean0 *= load(s.inverse + i);
        mean1 *= load(s.inverse + i + LANES);
        for (int j = 0; j < PIXELS; ++j) {
            const Vector g0 = load(e + j * PIXELS) * (load(g + j * PIXELS) - mean0);
            const Vector g1 = load(e + j * PIXELS + LANES) * (load(g + j * PIXELS + LANES) - mean1);
            store(g + j * PIXELS, g0);
            store(g + j * PIXELS + LANES, g1);
            store(b + j * PIXELS, load(b + j * PIXELS) + g0);
            store(b + j * PIXELS + LANES, load(b + j * PIXELS + LANES) + g1);
        }
    }
}

// From the gradient of scale u to that of x, in place, u = x / |x|; also leaves u . gradient of each row in `along`.
template <int P> void differentiate_norm(float* g, float* along, const float* u, const float* inverse, float scale) {
    dot_rows<P>(along, u, g);
    for (int t = 0; t < PIXELS; ++t) {
        const float back = inverse[t] < LONGEST_INVERSE ? along[t] : 0.0f, factor = scale * inverse[t];
        for (int i = t * P; i < (t + 1) * P; i += LANES) store(g + i, (load(g + i) - load(u + i) * back) * factor);
    }
}

template <int P>
void backward_range(const WindowAttention& a, const WindowAttentionGradients& out, int begin, int end, int thread,
                    AttentionScratch& s) {
    const int d = a.head_dim, all_heads = a.heads * d, rest = a.row - 3 * all_heads;
    double* dscale = out.scale + long(thread) * a.heads;
    float* dbias = out.bias + long(thread) * a.heads * PIXELS * PIXELS;
    for (int window = begin; window < end; ++window) {
        const long first = long(window) * PIXELS;
        const float* qkv = a.qkv + first * a.row;
        float* dqkv = out.qkv + first * a.row;
        if (a.gate) {
            pick<P>(s.gate, a.gate + first * d, d, d);
            std::memset(s.dgate, 0, sizeof(float) * PIXELS * P);
        }
        for (int t = 0; t < PIXELS; ++t) std::memset(dqkv + t * a.row + 3 * all_heads, 0, sizeof(float) * rest);
        Ahead ahead(5 * a.heads * (PIXELS / ROWS));  // five products
        if (window + 1 < end) {
            ahead.add(qkv + PIXELS * a.row, PIXELS * a.row);
            ahead.add(dqkv + PIXELS * a.row, PIXELS * a.row);
            ahead.add(out.y + (first + PIXELS) * all_heads, PIXELS * all_heads);
            if (a.gate) {
                ahead.add(a.gate + (first + PIXELS) * d, PIXELS * d);
                ahead.add(out.gate + (first + PIXELS) * d, PIXELS * d);
            }
        }
        for (int h = 0; h < a.heads; ++h) {
            pick_head<P>(a, qkv, h, s);
            if (a.gate) {
                std::memcpy(s.raw_v, s.v, sizeof(float) * PIXELS * P);
                multiply<P>(s.v, s.v, s.gate);
            }
            pick<P>(s.g, out.y + first * all_heads + h * d, all_heads, d);
            score<P>(a.bias + h * PIXELS * PIXELS, a.scale[h], d, ahead, s);
            // The gradient is divided by the sum of the softmax here, so that the scores need not be.
            scale_rows<P>(s.g, s.inverse);
            transpose<P>(s.columns, s.g, 1.0f);
            product_ahead(ahead, s.dscores, PIXELS, s.v, P, 1, s.columns, PIXELS, d, PIXELS, nullptr);
            product_ahead(ahead, s.dv, P, s.scores, PIXELS, 1, s.g, P, PIXELS, P, nullptr);
            differentiate_softmax(dbias + h * PIXELS * PIXELS, s);
            product_ahead(ahead, s.dq, P, s.dscores, 1, PIXELS, s.k, P, PIXELS, P, nullptr);
            product_ahead(ahead, s.dk, P, s.dscores, PIXELS, 1, s.q, P, PIXELS, P, nullptr);
            differentiate_norm<P>(s.dq, s.q_along, s.q, s.q_inverse, a.scale[h]);
            differentiate_norm<P>(s.dk, s.k_along, s.k, s.k_inverse, a.scale[h]);
            double total = 0;
            for (int t = 0; t < PIXELS; ++t) total += s.q_along[t];
            dscale[h] += total;
            if (a.gate) {
                for (int i = 0; i < PIXELS * P; i += LANES) {
                    store(s.dgate + i, load(s.dgate + i) + load(s.dv + i) * load(s.raw_v + i));
                    store(s.dv + i, load(s.dv + i) * load(s.gate + i));
                }
            }
            copy_rows(dqkv + h * d, a.row, s.dq, P, d);
            copy_rows(dqkv + all_heads + h * d, a.row, s.dk, P, d);
            copy_rows(dqkv + 2 * all_heads + h * d, a.row, s.dv, P, d);
        }
        if (a.gate) copy_rows(out.gate + first * d, d, s.dgate, P, d);
    }
}

}  // namespace

extern "C" {

void window_attention_forward(const WindowAttention* a, int threads) {
    share_out(a->windows, threads, [&](int begin, int end, int) {
        AttentionScratch& s = scratch<AttentionScratch>();
        if (a->head_dim <= USUAL_DIM)
            forward_range<USUAL_DIM>(*a, begin, end, s);
        else
            forward_range<MOST_DIM>(*a, begin, end, s);
    });
}

void window_attention_backward(const WindowAttention* a, const WindowAttentionGradients* out, int threads) {
    share_out(a->windows, threads, [&](int begin, int end, int thread) {
        AttentionScratch& s = scratch<AttentionScratch>();
        if (a->head_dim <= USUAL_DIM)
            backward_range<USUAL_DIM>(*a, *out, begin, end, thread, s);
        else
            backward_range<MOST_DIM>(*a, *out, begin, end, thread, s);
    });
}
}
