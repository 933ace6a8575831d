// The backward pass of `transform` on a CPU, float32. Nothing is kept from the forward pass but its inputs: patch by patch,
// everything is computed anew and differentiated while it is in the cache.
//
// The depthwise convolution reaches beyond a patch. So there are two rounds: the first ends at the gradient of its result,
// which is written to a map; the second goes on from there, with the borders of the patches.

#include "transform.h"

#include <initializer_list>

extern "C" {

struct TransformGradients {
    const float *y, *mix;       // of the outputs, (B, H, W, out_channels); null where there is none
    float *attentions, *x;      // of the inputs
    float* depthwise;           // of the depthwise convolution's result, (B, H, W, hidden padded): working memory
    // The transposed weights: (groups, hidden / groups, in_channels / groups padded), panels out_channels x hidden,
    // ffn_hidden x out_channels, out_channels x ffn_hidden.
    const float *exp_back, *pw_back, *hidden_back, *out_back;
    // Of the weights, zeros at first, each once for each thread: as in Transform, with the rows padded, too.
    float *exp_weight, *exp_bias, *dw_weight, *dw_bias, *pw_weight, *pw_bias;
    float *norm1_weight, *norm1_bias, *hidden_weight, *hidden_bias, *out_weight, *out_bias, *norm2_weight, *norm2_bias;
};
}

namespace {

struct GradientScratch {
    PatchScratch forward;
    alignas(64) float depthwise[PIXELS * MOST];   // results
    alignas(64) float mix[PIXELS * MOST];
    alignas(64) float hidden[PIXELS * MOST];
    alignas(64) float slope[PIXELS * MOST];       // of GELU
    alignas(64) float out[PIXELS * MOST];
    alignas(64) float dy[PIXELS * MOST];          // gradients
    alignas(64) float dout[PIXELS * MOST];
    alignas(64) float dhidden[PIXELS * MOST];
    alignas(64) float dmix[PIXELS * MOST];
    alignas(64) float dmixed[PIXELS * MOST];
    alignas(64) float halo[HALO * HALO * MOST];
};

// Gradients of weight and bias of y = x w + b, from 64 rows of x and of the gradient of y.
void differentiate_weights(float* dweight, float* dbias, const float* x, int x_row, int depth, const float* dy, int dy_row,
                           int columns) {
    product(dweight, columns, x, 1, x_row, dy, dy_row, padded(depth), PIXELS, columns, dweight, columns);
    for (int i = 0; i < columns; i += LANES) {
        Vector total = load(dbias + i);
        for (int p = 0; p < PIXELS; ++p) total += load(dy + p * dy_row + i);
        store(dbias + i, total);
    }
}

// From the gradients of 64 normalised rows to those of the rows.
void differentiate_norm(float* dx, float* dweight, float* dbias, const float* dy, const float* x, int n, const float* weight) {
    const int row = padded(n);
    for (int p = 0; p < PIXELS; ++p, dx += row, dy += row, x += row) {
        const Moments m = moments(x, n);
        Vector sums{}, products{};
        for (int i = 0; i < n; i += LANES) {
            const Vector normal = (load(x + i) - m.mean) * m.factor, g = load(dy + i), weighted = g * load(weight + i);
            store(dweight + i, load(dweight + i) + g * normal);
            store(dbias + i, load(dbias + i) + g);
            sums += weighted;
            products += weighted * normal;
        }
        const float mean = sum(sums) / n, along = sum(products) / n;
        for (int i = 0; i < n; i += LANES) {
            const Vector normal = (load(x + i) - m.mean) * m.factor;
            store(dx + i, (load(dy + i) * load(weight + i) - mean - normal * along) * m.factor);
        }
    }
}

INLINE Vector leaky_slope(Vector x) { return x < 0.0f ? all(0.01f) : all(1.0f); }

// Rows of n channels, padded with zeros.
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

// From the gradient of the block's output, in s.dy, to that of MobiVari's result, in s.dmix; leaves that of x in s.dy.
void differentiate_rest(const Transform& t, const TransformGradients& out, const Patch& at, int thread, Ahead& ahead,
                        GradientScratch& s) {
    const int co = t.out_channels, cop = padded(co), n = t.ffn_hidden, np = padded(n);
    float* x = s.forward.x;
    read_rows(x, static_cast<const float*>(t.x), at, co);
    for (int p = 0; p < PIXELS; ++p) add_norm(x + p * cop, s.mix + p * cop, co, t.norm1_weight, t.norm1_bias);
    product(s.hidden, np, x, cop, 1, t.hidden_weight, np, PIXELS, co, np, t.hidden_bias, 0, &ahead);
    for (int i = 0; i < PIXELS * np; i += LANES) {
        const Gelu g = gelu_and_slope(load(s.hidden + i));
        store(s.hidden + i, g.value);
        store(s.slope + i, g.slope);
    }
    product(s.out, cop, s.hidden, np, 1, t.out_weight, cop, PIXELS, n, cop, t.out_bias, 0, &ahead);

    const long c = long(thread) * cop;
    differentiate_norm(s.dout, out.norm2_weight + c, out.norm2_bias + c, s.dy, s.out, co, t.norm2_weight);
    differentiate_weights(out.out_weight + c * np, out.out_bias + c, s.hidden, np, n, s.dout, cop, cop);
    product(s.dhidden, np, s.dout, cop, 1, out.out_back, np, PIXELS, co, np, nullptr, 0, &ahead);
    for (int i = 0; i < PIXELS * np; i += LANES) store(s.dhidden + i, load(s.dhidden + i) * load(s.slope + i));
    differentiate_weights(out.hidden_weight + c * np, out.hidden_bias + long(thread) * np, x, cop, co, s.dhidden, np, np);
    product(s.dy, cop, s.dhidden, np, 1, out.hidden_back, cop, PIXELS, n, cop, s.dy, cop, &ahead);
    differentiate_norm(s.dmix, out.norm1_weight + c, out.norm1_bias + c, s.dy, s.mix, co, t.norm1_weight);
}

// The first round: to the gradient of the depthwise convolution's result.
void backward_range(const Transform& t, const TransformGradients& out, int begin, int end, int thread, GradientScratch& s) {
    const int ci = t.in_channels, cip = padded(ci), e = t.hidden, ep = padded(e), co = t.out_channels, cop = padded(co);
    const float* source = t.groups ? s.forward.wide : s.forward.input;
    const int source_row = t.groups ? wide_row(t) : cip;
    const float* mixed = s.forward.mixed;
    float* dw_weight = out.dw_weight + long(thread) * padded(9) * ep;
    float* dw_bias = out.dw_bias + long(thread) * ep;
    for (int patch = begin; patch < end; ++patch) {
        const Patch at(t, patch);
        Ahead ahead(6 * PIXELS / ROWS);  // six products
        if (patch + 1 < end) {
            const Patch next(t, patch + 1);
            add_rows(ahead, static_cast<const float*>(t.attentions), next, ci, 1);
            for (const float* map : {static_cast<const float*>(t.x), out.y, out.mix, static_cast<const float*>(out.x)})
                if (map) add_rows(ahead, map, next, co, 0);
            add_rows(ahead, out.attentions, next, ci, 0);
            add_rows(ahead, out.depthwise, next, ep, 0);
        }
        mix_patch<float>(t, at, ahead, s.forward, s.mix, s.depthwise);
        if (t.ffn_hidden && out.y) {
            read_rows(s.dy, out.y, at, co);
            differentiate_rest(t, out, at, thread, ahead, s);
            write_rows(out.x, s.dy, at, co);
        } else {
            std::memset(s.dmix, 0, sizeof(float) * PIXELS * cop);
        }
        if (out.mix) {
            for (int p = 0; p < PIXELS; ++p)
                for (int i = 0; i < co; ++i) s.dmix[p * cop + i] += out.mix[at.place(p) * co + i];
        }
        float* dpw = s.dmix;  // gradient of the pointwise convolution's result
        if (!t.groups) {
            dpw = s.dout;
            for (int i = 0; i < PIXELS * cop; i += LANES)
                store(dpw + i, load(s.dmix + i) * leaky_slope(load(s.forward.a + i)));
        }
        differentiate_weights(out.pw_weight + long(thread) * ep * cop, out.pw_bias + long(thread) * cop, mixed, ep, e, dpw, cop,
                              cop);
        product(s.dmixed, ep, dpw, cop, 1, out.pw_back, ep, PIXELS, co, ep, nullptr, 0, &ahead);
        for (int p = 0; p < PIXELS; ++p) {
            float* to = out.attentions + at.place(p) * ci;
            for (int i = 0; i < ci; ++i) {
                const float direct = t.residual ? s.dmix[p * cop + i] : 0.0f;
                to[i] = t.groups ? direct : direct + s.dmixed[p * ep + i];
            }
        }
        // As signs of what the activation took in, those of its results serve as well.
        const float* activated = t.groups ? mixed : s.depthwise;
        for (int i = 0; i < PIXELS * ep; i += LANES)
            store(s.dmixed + i, load(s.dmixed + i) * leaky_slope(load(activated + i)));
        for (int p = 0; p < PIXELS; ++p)
            std::memcpy(out.depthwise + at.place(p) * ep, s.dmixed + p * ep, sizeof(float) * ep);
        for (int i = 0; i < ep; i += LANES) {
            Vector total[9], bias = load(dw_bias + i);
            for (int j = 0; j < 9; ++j) total[j] = load(dw_weight + j * ep + i);
            for (int p = 0; p < PIXELS; ++p) {
                const float* corner = source + (p / SIDE * HALO + p % SIDE) * source_row + i;
                const Vector g = load(s.dmixed + p * ep + i);
                bias += g;
                for (int j = 0; j < 9; ++j) total[j] += g * load(corner + (j / 3 * HALO + j % 3) * source_row);
            }
            store(dw_bias + i, bias);
            for (int j = 0; j < 9; ++j) store(dw_weight + j * ep + i, total[j]);
        }
    }
}

// The second round: through the depthwise and the expanding convolution to the gradient of the attentions.
void finish_range(const Transform& t, const TransformGradients& out, int begin, int end, int thread, GradientScratch& s) {
    const int ci = t.in_channels, cip = padded(ci), e = t.hidden, ep = padded(e);
    const int row = t.groups ? wide_row(t) : ep;
    float *wide = s.forward.wide, *input = s.forward.input, *dwide = s.dmixed;
    for (int patch = begin; patch < end; ++patch) {
        const Patch at(t, patch);
        read_halo(s.halo, out.depthwise, at, ep);
        for (int i = 0; i < ep; i += LANES) {
            Vector weight[9];
            for (int j = 0; j < 9; ++j) weight[j] = load(t.dw_weight + (8 - j) * ep + i);
            for (int p = 0; p < PIXELS; ++p) {
                const float* corner = s.halo + (p / SIDE * HALO + p % SIDE) * ep + i;
                Vector v = t.groups ? load(corner + (HALO + 1) * ep) : Vector{};
                for (int j = 0; j < 9; ++j) v += weight[j] * load(corner + (j / 3 * HALO + j % 3) * ep);
                store(dwide + p * row + i, v);
            }
        }
        const float* dinput = dwide;
        int dinput_row = row;
        if (t.groups) {
            const int in = ci / t.groups, g_out = e / t.groups, in_p = padded(in), out_p = padded(g_out);
            read_rows(input, static_cast<const float*>(t.attentions), at, ci);
            expand(t, wide, input, PIXELS);
            for (int p = 0; p < PIXELS; ++p)
                for (int i = p * row; i < p * row + ep; i += LANES)
                    store(dwide + i, load(dwide + i) * leaky_slope(load(wide + i)));
            dinput = s.dmix;
            dinput_row = cip + 2 * PANEL;
            for (int g = 0; g < t.groups; ++g) {
                const long group = long(thread) * t.groups + g;
                differentiate_weights(out.exp_weight + group * in_p * out_p, out.exp_bias + group * out_p, input + g * in, cip,
                                      in, dwide + g * g_out, row, out_p);
                product(s.dmix + g * in, dinput_row, dwide + g * g_out, row, 1, out.exp_back + long(g) * g_out * in_p, in_p,
                        PIXELS, g_out, in_p, nullptr, 0);
            }
        }
        for (int p = 0; p < PIXELS; ++p) {
            float* to = out.attentions + at.place(p) * ci;
            for (int i = 0; i < ci; ++i) to[i] += dinput[p * dinput_row + i];
        }
    }
}

}  // namespace

extern "C" void transform_backward(const Transform* t, const TransformGradients* out, int threads) {
    share_out(patches(*t), threads, [&](int begin, int end, int thread) {
        backward_range(*t, *out, begin, end, thread, scratch<GradientScratch>());
    });
    share_out(patches(*t), threads, [&](int begin, int end, int thread) {
        finish_range(*t, *out, begin, end, thread, scratch<GradientScratch>());
    });
}
