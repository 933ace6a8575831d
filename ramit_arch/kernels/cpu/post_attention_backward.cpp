// Gradients of post_attention.cpp, float32. Nothing is kept from the forward pass but its inputs: patch by patch,
// everything is recomputed and differentiated while it is in the cache.
//
// The depthwise convolution reaches beyond a patch. So there are two passes: the first ends at the gradient of its
// result, which is written to a map; the second goes on from there, with the borders of the patches.

#include "layer_norm.h"
#include "mobivari.h"
#include "parallel.h"

#include <initializer_list>

namespace {

struct GradientScratch {
    PatchScratch forward;
    // Results: depthwise convolution, MobiVari, hidden layer (and the slope of its GELU) and output layer.
    alignas(64) float depthwise[PIXELS * MAX_ROW];
    alignas(64) float mixed[PIXELS * MAX_ROW];
    alignas(64) float hidden[PIXELS * MAX_ROW];
    alignas(64) float slope[PIXELS * MAX_ROW];
    alignas(64) float out[PIXELS * MAX_ROW];
    // Their gradients, and that of the block's output.
    alignas(64) float ddepthwise[PIXELS * MAX_ROW];
    alignas(64) float dmixed[PIXELS * MAX_ROW];
    alignas(64) float dhidden[PIXELS * MAX_ROW];
    alignas(64) float dout[PIXELS * MAX_ROW];
    alignas(64) float dy[PIXELS * MAX_ROW];
    alignas(64) float halo[HALO * HALO * MAX_ROW];
};

// Adds the gradients of weight and bias of y = x w + b, from 64 rows of x and of dy.
void linear_weights_backward(float* dweight, float* dbias, const float* x, int x_row, int depth, const float* dy,
                             int dy_row, int columns) {
    matmul(dweight, columns, x, 1, x_row, dy, dy_row, padded(depth), PIXELS, columns, dweight, columns);
    for (int i = 0; i < columns; i += LANES) {
        Vector total = load(dbias + i);
        for (int p = 0; p < PIXELS; ++p) total += load(dy + p * dy_row + i);
        store(dbias + i, total);
    }
}

// Gradients of LayerNorm, for 64 rows: sets dx, and adds to dweight and dbias.
void layer_norm_backward(float* dx, float* dweight, float* dbias, const float* dy, const float* x, int n,
                         const float* weight) {
    const int row = padded(n);
    for (int p = 0; p < PIXELS; ++p, dx += row, dy += row, x += row) {
        const Moments m = moments(x, n);
        Vector sums{}, products{};
        for (int i = 0; i < n; i += LANES) {
            const Vector normal = (load(x + i) - m.mean) * m.inverse_std, g = load(dy + i),
                         weighted = g * load(weight + i);
            store(dweight + i, load(dweight + i) + g * normal);
            store(dbias + i, load(dbias + i) + g);
            sums += weighted;
            products += weighted * normal;
        }
        const float mean = sum(sums) / n, along = sum(products) / n;
        for (int i = 0; i < n; i += LANES) {
            const Vector normal = (load(x + i) - m.mean) * m.inverse_std;
            store(dx + i, (load(dy + i) * load(weight + i) - mean - normal * along) * m.inverse_std);
        }
    }
}

// Derivative of leaky_relu; the sign of its result serves as well as that of x.
INLINE Vector leaky_relu_slope(Vector x) { return x < 0.0f ? broadcast(0.01f) : broadcast(1.0f); }

// Reads the rows of a patch, and pads them with zeros.
void read_rows(float* to, const float* map, const Patch& at, int n) {
    const int row = padded(n);
    for (int p = 0; p < PIXELS; ++p, to += row) {
        copy(to, map + at.place(p) * n, n);
        for (int i = n; i < row; ++i) to[i] = 0;
    }
}
void write_rows(float* map, const float* from, const Patch& at, int n) {
    for (int p = 0; p < PIXELS; ++p) copy(map + at.place(p) * n, from + p * padded(n), n);
}

// Norms and feed-forward network: from the gradient of the block's output, in s.dy, to that of MobiVari's result, in
// s.dmixed; leaves that of x in s.dy.
void ffn_backward(const PostAttention& t, const PostAttentionGradients& out, const Patch& at, int thread,
                  Prefetcher& prefetcher, GradientScratch& s) {
    const int co = t.out_channels, cop = padded(co), n = t.ffn_hidden, np = padded(n);
    float* x = s.forward.x;
    read_rows(x, static_cast<const float*>(t.x), at, co);
    for (int p = 0; p < PIXELS; ++p) add_norm(x + p * cop, s.mixed + p * cop, co, t.norm1_weight, t.norm1_bias);
    matmul(s.hidden, np, x, cop, 1, t.hidden_weight, np, PIXELS, co, np, t.hidden_bias, 0, &prefetcher);
    for (int i = 0; i < PIXELS * np; i += LANES) {
        const Gelu g = gelu_and_slope(load(s.hidden + i));
        store(s.hidden + i, g.value);
        store(s.slope + i, g.slope);
    }
    matmul(s.out, cop, s.hidden, np, 1, t.out_weight, cop, PIXELS, n, cop, t.out_bias, 0, &prefetcher);

    const long c = long(thread) * cop;
    layer_norm_backward(s.dout, out.norm2_weight + c, out.norm2_bias + c, s.dy, s.out, co, t.norm2_weight);
    linear_weights_backward(out.out_weight + c * np, out.out_bias + c, s.hidden, np, n, s.dout, cop, cop);
    matmul(s.dhidden, np, s.dout, cop, 1, out.out_weight_t, np, PIXELS, co, np, nullptr, 0, &prefetcher);
    for (int i = 0; i < PIXELS * np; i += LANES) store(s.dhidden + i, load(s.dhidden + i) * load(s.slope + i));
    linear_weights_backward(out.hidden_weight + c * np, out.hidden_bias + long(thread) * np, x, cop, co, s.dhidden, np,
                            np);
    matmul(s.dy, cop, s.dhidden, np, 1, out.hidden_weight_t, cop, PIXELS, n, cop, s.dy, cop, &prefetcher);
    layer_norm_backward(s.dmixed, out.norm1_weight + c, out.norm1_bias + c, s.dy, s.mixed, co, t.norm1_weight);
}

// First pass: to the gradient of the depthwise convolution's result.
void first_pass(const PostAttention& t, const PostAttentionGradients& out, int begin, int end, int thread,
                GradientScratch& s) {
    const int ci = t.in_channels, cip = padded(ci), e = t.hidden, ep = padded(e), co = t.out_channels, cop = padded(co);
    const float* source = t.groups ? s.forward.expanded : s.forward.input;
    const int source_row = t.groups ? expanded_row(t) : cip;
    const float* pw_input = s.forward.hidden;
    float* dw_weight = out.dw_weight + long(thread) * padded(9) * ep;
    float* dw_bias = out.dw_bias + long(thread) * ep;
    for (int patch = begin; patch < end; ++patch) {
        const Patch at(t, patch);
        Prefetcher prefetcher(6 * PIXELS / ROWS);  // six products
        if (patch + 1 < end) {
            const Patch next(t, patch + 1);
            prefetch_patch(prefetcher, static_cast<const float*>(t.attentions), next, ci, 1);
            for (const float* map :
                 {static_cast<const float*>(t.x), out.y, out.mixed, static_cast<const float*>(out.x)})
                if (map) prefetch_patch(prefetcher, map, next, co, 0);
            prefetch_patch(prefetcher, out.attentions, next, ci, 0);
            prefetch_patch(prefetcher, out.depthwise, next, ep, 0);
        }
        mobivari<float>(t, at, prefetcher, s.forward, s.mixed, s.depthwise);
        if (t.ffn_hidden && out.y) {
            read_rows(s.dy, out.y, at, co);
            ffn_backward(t, out, at, thread, prefetcher, s);
            write_rows(out.x, s.dy, at, co);
        } else {
            std::memset(s.dmixed, 0, sizeof(float) * PIXELS * cop);
        }
        if (out.mixed) {
            for (int p = 0; p < PIXELS; ++p)
                for (int i = 0; i < co; ++i) s.dmixed[p * cop + i] += out.mixed[at.place(p) * co + i];
        }
        float* dpw = s.dmixed;  // gradient of the pointwise convolution's result
        if (!t.groups) {
            dpw = s.dout;
            for (int i = 0; i < PIXELS * cop; i += LANES)
                store(dpw + i, load(s.dmixed + i) * leaky_relu_slope(load(s.forward.result + i)));
        }
        linear_weights_backward(out.pw_weight + long(thread) * ep * cop, out.pw_bias + long(thread) * cop, pw_input, ep,
                                e, dpw, cop, cop);
        matmul(s.ddepthwise, ep, dpw, cop, 1, out.pw_weight_t, ep, PIXELS, co, ep, nullptr, 0, &prefetcher);
        for (int p = 0; p < PIXELS; ++p) {
            float* to = out.attentions + at.place(p) * ci;
            for (int i = 0; i < ci; ++i) {
                const float direct = t.residual ? s.dmixed[p * cop + i] : 0.0f;
                to[i] = t.groups ? direct : direct + s.ddepthwise[p * ep + i];
            }
        }
        const float* activated = t.groups ? pw_input : s.depthwise;
        for (int i = 0; i < PIXELS * ep; i += LANES)
            store(s.ddepthwise + i, load(s.ddepthwise + i) * leaky_relu_slope(load(activated + i)));
        for (int p = 0; p < PIXELS; ++p)
            std::memcpy(out.depthwise + at.place(p) * ep, s.ddepthwise + p * ep, sizeof(float) * ep);
        // Weight and bias of the depthwise convolution.
        for (int i = 0; i < ep; i += LANES) {
            Vector total[9], bias = load(dw_bias + i);
            for (int j = 0; j < 9; ++j) total[j] = load(dw_weight + j * ep + i);
            for (int p = 0; p < PIXELS; ++p) {
                const float* corner = source + (p / SIDE * HALO + p % SIDE) * source_row + i;
                const Vector g = load(s.ddepthwise + p * ep + i);
                bias += g;
                for (int j = 0; j < 9; ++j) total[j] += g * load(corner + (j / 3 * HALO + j % 3) * source_row);
            }
            store(dw_bias + i, bias);
            for (int j = 0; j < 9; ++j) store(dw_weight + j * ep + i, total[j]);
        }
    }
}

// Second pass: through the depthwise and the expanding convolution to the gradient of the attentions.
void second_pass(const PostAttention& t, const PostAttentionGradients& out, int begin, int end, int thread,
                 GradientScratch& s) {
    const int ci = t.in_channels, cip = padded(ci), e = t.hidden, ep = padded(e);
    const int row = t.groups ? expanded_row(t) : ep;
    float *expanded = s.forward.expanded, *input = s.forward.input, *dexpanded = s.ddepthwise;
    for (int patch = begin; patch < end; ++patch) {
        const Patch at(t, patch);
        read_halo(s.halo, out.depthwise, at, ep);
        for (int i = 0; i < ep; i += LANES) {
            Vector weight[9];
            for (int j = 0; j < 9; ++j) weight[j] = load(t.dw_weight + (8 - j) * ep + i);  // rotated by 180 degrees
            for (int p = 0; p < PIXELS; ++p) {
                const float* corner = s.halo + (p / SIDE * HALO + p % SIDE) * ep + i;
                const Vector center = t.groups ? load(corner + (HALO + 1) * ep) : Vector{};
                store(dexpanded + p * row + i, convolve3x3(center, weight, corner, ep));
            }
        }
        const float* dinput = dexpanded;
        int dinput_row = row;
        if (t.groups) {
            const int in = ci / t.groups, g_out = e / t.groups, in_p = padded(in), out_p = padded(g_out);
            read_rows(input, static_cast<const float*>(t.attentions), at, ci);
            expand(t, expanded, input, PIXELS);
            for (int p = 0; p < PIXELS; ++p)
                for (int i = p * row; i < p * row + ep; i += LANES)
                    store(dexpanded + i, load(dexpanded + i) * leaky_relu_slope(load(expanded + i)));
            dinput = s.dmixed;
            dinput_row = cip + 2 * PADDING;
            for (int g = 0; g < t.groups; ++g) {
                const long group = long(thread) * t.groups + g;
                linear_weights_backward(out.exp_weight + group * in_p * out_p, out.exp_bias + group * out_p,
                                        input + g * in, cip, in, dexpanded + g * g_out, row, out_p);
                matmul(s.dmixed + g * in, dinput_row, dexpanded + g * g_out, row, 1,
                       out.exp_weight_t + long(g) * g_out * in_p, in_p, PIXELS, g_out, in_p, nullptr, 0);
            }
        }
        for (int p = 0; p < PIXELS; ++p) {
            float* to = out.attentions + at.place(p) * ci;
            for (int i = 0; i < ci; ++i) to[i] += dinput[p * dinput_row + i];
        }
    }
}

}  // namespace

extern "C" void post_attention_backward(const PostAttention* t, const PostAttentionGradients* out, int threads) {
    parallel_for(patch_count(*t), threads, [&](int begin, int end, int thread) {
        first_pass(*t, *out, begin, end, thread, scratch<GradientScratch>());
    });
    parallel_for(patch_count(*t), threads, [&](int begin, int end, int thread) {
        second_pass(*t, *out, begin, end, thread, scratch<GradientScratch>());
    });
}
