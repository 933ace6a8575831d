// Cosine attention within windows for training on a CPU, float32: forward, and a backward pass that computes scores and
// softmax anew, window by window, while they are in the first or second level cache. Nothing else is kept in between.

#include "window.h"

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

constexpr float LONGEST_INVERSE = 0.9999e12f;  // of a length; where it is more, the vector was divided by a constant

struct AttentionScratch : Head {
    alignas(64) float raw_v[PIXELS * MOST_DIM];  // before the gate
    alignas(64) float g[PIXELS * MOST_DIM];      // gradients
    alignas(64) float dq[PIXELS * MOST_DIM];
    alignas(64) float dk[PIXELS * MOST_DIM];
    alignas(64) float dv[PIXELS * MOST_DIM];
    alignas(64) float dgate[PIXELS * MOST_DIM];
    alignas(64) float dscores[PIXELS * PIXELS];  // (keys, queries)
    alignas(64) float q_along[PIXELS];           // of the gradient, along q
    alignas(64) float k_along[PIXELS];
};

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
            attend_head<P>(a.bias + h * PIXELS * PIXELS, a.scale[h], d, ahead, s);
            copy_rows(y + h * d, all_heads, s.y, P, d);
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
            for (int i = 0; i < PIXELS * P; i += LANES) store(s.dgate + i, Vector{});
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
            product(s.dscores, PIXELS, s.v, P, 1, s.columns, PIXELS, PIXELS, d, PIXELS, nullptr, 0, &ahead);
            product(s.dv, P, s.scores, PIXELS, 1, s.g, P, PIXELS, PIXELS, P, nullptr, 0, &ahead);
            differentiate_softmax(dbias + h * PIXELS * PIXELS, s);
            product(s.dq, P, s.dscores, 1, PIXELS, s.k, P, PIXELS, PIXELS, P, nullptr, 0, &ahead);
            product(s.dk, P, s.dscores, PIXELS, 1, s.q, P, PIXELS, PIXELS, P, nullptr, 0, &ahead);
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
        with_padded(a->head_dim, [&](auto p) { forward_range<p()>(*a, begin, end, scratch<AttentionScratch>()); });
    });
}

void window_attention_backward(const WindowAttention* a, const WindowAttentionGradients* out, int threads) {
    share_out(a->windows, threads, [&](int begin, int end, int thread) {
        with_padded(a->head_dim,
                    [&](auto p) { backward_range<p()>(*a, *out, begin, end, thread, scratch<AttentionScratch>()); });
    });
}
}
