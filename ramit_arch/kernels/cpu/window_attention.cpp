// Cosine attention within windows for training, float32. The backward pass recomputes scores and softmax, window by
// window, while they are in the first or second level cache; nothing else is kept from the forward pass.

#include "cosine_attention.h"
#include "parallel.h"

namespace {

constexpr float MAX_INVERSE_NORM = 0.9999e12f;  // above it, the vector was divided by the lower bound of the norm

struct AttentionScratch : Head {
    alignas(64) float raw_v[PIXELS * MAX_HEAD_DIM];  // before the gate
    alignas(64) float g[PIXELS * MAX_HEAD_DIM];      // gradients
    alignas(64) float dq[PIXELS * MAX_HEAD_DIM];
    alignas(64) float dk[PIXELS * MAX_HEAD_DIM];
    alignas(64) float dv[PIXELS * MAX_HEAD_DIM];
    alignas(64) float dgate[PIXELS * MAX_HEAD_DIM];
    alignas(64) float dscores[PIXELS * PIXELS];  // (keys, queries)
    alignas(64) float q_along[PIXELS];           // q . dq, likewise k . dk
    alignas(64) float k_along[PIXELS];
};

template <int P> void gather_qkv(const WindowAttention& a, const float* qkv, int head, AttentionScratch& s) {
    const int d = a.head_dim, all_heads = a.heads * d;
    gather_head<P>(s.q, qkv + head * d, a.row, d);
    gather_head<P>(s.k, qkv + all_heads + head * d, a.row, d);
    gather_head<P>(s.v, qkv + 2 * all_heads + head * d, a.row, d);
}

template <int P> void forward_range(const WindowAttention& a, int begin, int end, AttentionScratch& s) {
    const int d = a.head_dim, all_heads = a.heads * d;
    for (int window = begin; window < end; ++window) {
        const float* qkv = a.qkv + long(window) * PIXELS * a.row;
        float* y = a.y + long(window) * PIXELS * all_heads;
        if (a.gate) gather_head<P>(s.gate, a.gate + long(window) * PIXELS * d, d, d);
        Prefetcher prefetcher(2 * a.heads * (PIXELS / ROWS));  // two products
        if (window + 1 < end) {
            prefetcher.add(qkv + PIXELS * a.row, PIXELS * a.row);
            if (a.gate) prefetcher.add(a.gate + long(window + 1) * PIXELS * d, PIXELS * d);
            prefetcher.add(y + PIXELS * all_heads, PIXELS * all_heads);
        }
        for (int h = 0; h < a.heads; ++h) {
            gather_qkv<P>(a, qkv, h, s);
            if (a.gate) multiply<P>(s.v, s.v, s.gate);
            attend_head<P>(a.bias + h * PIXELS * PIXELS, a.scale[h], d, prefetcher, s);
            copy_rows(y + h * d, all_heads, s.y, P, d);
        }
    }
}

// Turns the gradient of the softmax, in s.dscores, into that of the scores, and adds it to dbias, too.
void softmax_backward(float* dbias, AttentionScratch& s) {
    for (int i = 0; i < PIXELS; i += 2 * LANES) {
        const float* e = s.scores + i;
        float* g = s.dscores + i;
        float* b = dbias + i;
        Vector mean0{}, mean1{};
        for (int j = 0; j < PIXELS; ++j) {
            mean0 += load(e + j * PIXELS) * load(g + j * PIXELS);
            mean1 += load(e + j * PIXELS + LANES) * load(g + j * PIXELS + LANES);
        }
        mean0 *= load(s.inverse_sum + i);
        mean1 *= load(s.inverse_sum + i + LANES);
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

// Turns the gradient of scale u into that of x, in place, u = x / |x|; leaves the dot products of u and gradient in
// `along`.
template <int P> void normalize_backward(float* g, float* along, const float* u, const float* inverse, float scale) {
    dot_rows<P>(along, u, g);
    for (int t = 0; t < PIXELS; ++t) {
        const float back = inverse[t] < MAX_INVERSE_NORM ? along[t] : 0.0f, factor = scale * inverse[t];
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
            gather_head<P>(s.gate, a.gate + first * d, d, d);
            for (int i = 0; i < PIXELS * P; i += LANES) store(s.dgate + i, Vector{});
        }
        for (int t = 0; t < PIXELS; ++t) std::memset(dqkv + t * a.row + 3 * all_heads, 0, sizeof(float) * rest);
        Prefetcher prefetcher(5 * a.heads * (PIXELS / ROWS));  // five products
        if (window + 1 < end) {
            prefetcher.add(qkv + PIXELS * a.row, PIXELS * a.row);
            prefetcher.add(dqkv + PIXELS * a.row, PIXELS * a.row);
            prefetcher.add(out.y + (first + PIXELS) * all_heads, PIXELS * all_heads);
            if (a.gate) {
                prefetcher.add(a.gate + (first + PIXELS) * d, PIXELS * d);
                prefetcher.add(out.gate + (first + PIXELS) * d, PIXELS * d);
            }
        }
        for (int h = 0; h < a.heads; ++h) {
            gather_qkv<P>(a, qkv, h, s);
            if (a.gate) {
                std::memcpy(s.raw_v, s.v, sizeof(float) * PIXELS * P);
                multiply<P>(s.v, s.v, s.gate);
            }
            gather_head<P>(s.g, out.y + first * all_heads + h * d, all_heads, d);
            score<P>(a.bias + h * PIXELS * PIXELS, a.scale[h], d, prefetcher, s);
            // Divides the gradient by the sums of the softmax, so that the scores need not be divided.
            scale_rows<P>(s.g, s.inverse_sum);
            transpose<P>(s.columns, s.g, 1.0f);
            matmul(s.dscores, PIXELS, s.v, P, 1, s.columns, PIXELS, PIXELS, d, PIXELS, nullptr, 0, &prefetcher);
            matmul(s.dv, P, s.scores, PIXELS, 1, s.g, P, PIXELS, PIXELS, P, nullptr, 0, &prefetcher);
            softmax_backward(dbias + h * PIXELS * PIXELS, s);
            matmul(s.dq, P, s.dscores, 1, PIXELS, s.k, P, PIXELS, PIXELS, P, nullptr, 0, &prefetcher);
            matmul(s.dk, P, s.dscores, PIXELS, 1, s.q, P, PIXELS, PIXELS, P, nullptr, 0, &prefetcher);
            normalize_backward<P>(s.dq, s.q_along, s.q, s.q_inverse_norm, a.scale[h]);
            normalize_backward<P>(s.dk, s.k_along, s.k, s.k_inverse_norm, a.scale[h]);
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
    parallel_for(a->windows, threads, [&](int begin, int end, int) {
        with_padded_head_dim(a->head_dim,
                             [&](auto p) { forward_range<p()>(*a, begin, end, scratch<AttentionScratch>()); });
    });
}

void window_attention_backward(const WindowAttention* a, const WindowAttentionGradients* out, int threads) {
    parallel_for(a->windows, threads, [&](int begin, int end, int thread) {
        with_padded_head_dim(a->head_dim, [&](auto p) {
            backward_range<p()>(*a, *out, begin, end, thread, scratch<AttentionScratch>());
        });
    });
}
}
