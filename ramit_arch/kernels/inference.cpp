// RAMiT's blocks on a CPU, forward only: everything that happens to a patch of 8x8 pixels happens while it is in the first
// or second level cache. Maps are channels last, (B, H, W, C), float32 or bfloat16; all arithmetic is float32.

#include "transform.h"

#include <cmath>

extern "C" {

struct Attend {
    int batch, height, width, channels;
    int spatial_heads, channel_heads, head_dim, shift;
    int helped;
    const void *x, *helpers;        // (B, H, W, C); helpers: spatial, then channel attention of the previous block
    void* y;                        // (B, H, W, C): spatial attention, then the values of the channel heads
    const float* qkv_weight;        // panel C x 3 heads dp: q, k, v of the spatial heads, then of the channel heads
    const float* qkv_bias;          // dp: head_dim, padded; each head is padded by itself
    const float* scale;             // spatial_heads
    const float* position_bias;     // (spatial_heads, PIXELS, PIXELS)
    const float* proj_weight;       // panel (spatial_heads dp) x (spatial_heads head_dim)
    const float* proj_bias;
};
}

namespace {

struct Scratch {
    alignas(64) float tokens[PIXELS * 128];
    alignas(64) float qkv[PIXELS * 512];
    alignas(64) float keys[64 * PIXELS];
    alignas(64) float scores[ROWS * PIXELS];
    alignas(64) float attended[PIXELS * 256];
    alignas(64) float projected[PIXELS * 256];
    alignas(64) float products[128 * 128];
};

template <typename T>
void attend_range(const Attend& a, int begin, int end, double* products, Scratch& s) {
    const int columns = a.width / SIDE, per_image = a.height / SIDE * columns;
    const int c = a.channels, d = a.head_dim, dp = padded(d), ls = a.spatial_heads, lc = a.channel_heads;
    const int row = 3 * (ls + lc) * dp;  // of s.qkv
    const int q0 = 0, k0 = ls * dp, v0 = 2 * ls * dp, qc0 = 3 * ls * dp, vc0 = qc0 + 2 * lc * dp;
    const int sp = ls * d;
    const T* x = static_cast<const T*>(a.x);
    const T* helpers = static_cast<const T*>(a.helpers);
    T* y = static_cast<T*>(a.y);
    for (int window = begin; window < end; ++window) {
        const int image = window / per_image, top = window % per_image / columns * SIDE, left = window % columns * SIDE;
        long place[PIXELS];
        for (int p = 0; p < PIXELS; ++p) {
            int row_ = top + p / SIDE + a.shift, column = left + p % SIDE + a.shift;
            row_ -= row_ < a.height ? 0 : a.height;
            column -= column < a.width ? 0 : a.width;
            place[p] = ((long(image) * a.height + row_) * a.width + column) * c;
        }
        for (int p = 0; p < PIXELS; ++p) read(s.tokens + p * c, x + place[p], c);
        product(s.qkv, row, s.tokens, c, 1, a.qkv_weight, row, PIXELS, c, row, a.qkv_bias, 0);
        for (int p = 0; p < PIXELS; ++p) {
            float* token = s.qkv + p * row;
            if (a.helped) {
                alignas(64) float helper[MOST], gate[MOST];
                read(helper, helpers + place[p], c);
                for (int i = 0; i < dp; ++i) gate[i] = 0;
                for (int h = 0; h < lc; ++h)
                    for (int i = 0; i < d; ++i) gate[i] += helper[sp + h * d + i] * (1.0f / lc);
                for (int i = sp; i < padded(sp); ++i) helper[i] = 0;
                Vector total{};
                for (int i = 0; i < sp; i += LANES) total += load(helper + i);
                const float mean = sum(total) / sp;
                for (int h = 0; h < ls; ++h)
                    for (int i = 0; i < dp; i += LANES) store(token + v0 + h * dp + i, load(token + v0 + h * dp + i) * load(gate + i));
                for (int i = 0; i < lc * dp; i += LANES) store(token + vc0 + i, load(token + vc0 + i) * mean);
            }
            for (int h = 0; h < 2 * ls; ++h) {
                float* head = token + h * dp;
                Vector squares{};
                for (int i = 0; i < dp; i += LANES) squares += load(head + i) * load(head + i);
                const float square = sum(squares);
                const float factor = (h < ls ? a.scale[h] : 1.0f) / std::sqrt(square > SMALLEST_SQUARE ? square : SMALLEST_SQUARE);
                for (int i = 0; i < dp; i += LANES) store(head + i, load(head + i) * factor);
            }
        }
        for (int h = 0; h < ls; ++h) {
            for (int p = 0; p < PIXELS; ++p)
                for (int i = 0; i < d; ++i) s.keys[i * PIXELS + p] = s.qkv[p * row + k0 + h * dp + i];
            for (int m = 0; m < PIXELS; m += ROWS) {
                product(s.scores, PIXELS, s.qkv + m * row + q0 + h * dp, row, 1, s.keys, PIXELS, ROWS, d, PIXELS,
                        a.position_bias + (h * PIXELS + m) * PIXELS, PIXELS);
                float inverse[ROWS];
                for (int i = 0; i < ROWS; ++i) {
                    float* r = s.scores + i * PIXELS;
                    Vector best_of = load(r);
                    for (int j = LANES; j < PIXELS; j += LANES) best_of = load(r + j) > best_of ? load(r + j) : best_of;
                    const float best = largest(best_of);
                    Vector total{};
                    for (int j = 0; j < PIXELS; j += LANES) {
                        Vector e = exponential(load(r + j) - best);
                        total += e;
                        store(r + j, e);
                    }
                    inverse[i] = 1.0f / sum(total);
                }
                float* out = s.attended + m * ls * dp + h * dp;
                product(out, ls * dp, s.scores, PIXELS, 1, s.qkv + v0 + h * dp, row, ROWS, PIXELS, dp, nullptr, 0);
                for (int i = 0; i < ROWS; ++i)
                    for (int j = 0; j < dp; j += LANES) store(out + i * ls * dp + j, load(out + i * ls * dp + j) * inverse[i]);
            }
        }
        const int spp = padded(sp);
        product(s.projected, spp, s.attended, ls * dp, 1, a.proj_weight, spp, PIXELS, ls * dp, spp, a.proj_bias, 0);
        for (int p = 0; p < PIXELS; ++p) {
            write(y + place[p], s.projected + p * spp, sp);
            for (int h = 0; h < lc; ++h) write(y + place[p] + sp + h * d, s.qkv + p * row + vc0 + h * dp, d);
        }
        // Of every two channels of the channel heads' queries and keys, added up over the windows of an image.
        const int n = 2 * lc * dp;
        double* total = products + long(image) * n * n;
        product(s.products, n, s.qkv + qc0, 1, row, s.qkv + qc0, row, n, PIXELS, n, nullptr, 0);
        for (int i = 0; i < n * n; ++i) total[i] += s.products[i];
    }
}

// Attention between channels and its projection: one matrix an image, for the last channels of each pixel.
template <typename T>
void mix_range(T* y, int channels, int last, const float* weight, const float* bias, long begin, long end) {
    const int columns = padded(last);
    alignas(64) float values[ROWS * 128] = {}, mixed[ROWS * 128];
    for (long p = begin; p < end; p += ROWS) {
        T* first = y + (p + 1) * channels - last;
        for (int i = 0; i < ROWS; ++i) read(values + i * columns, first + i * channels, last);
        product(mixed, columns, values, columns, 1, weight, columns, ROWS, last, columns, bias, 0);
        for (int i = 0; i < ROWS; ++i) write(first + i * channels, mixed + i * columns, last);
    }
}

template <typename T>
void transform_range(const Transform& t, int begin, int end, PatchScratch& s) {
    const int co = t.out_channels, cop = padded(co), hp = padded(t.ffn_hidden);
    for (int patch = begin; patch < end; ++patch) {
        const Patch at(t, patch);
        mix_patch<T>(t, at, s, s.a, nullptr);
        if (t.keep_mix)
            for (int p = 0; p < PIXELS; ++p) write(static_cast<T*>(t.mix) + at.place(p) * co, s.a + p * cop, co);
        if (!t.ffn_hidden) continue;
        for (int p = 0; p < PIXELS; ++p) {
            read(s.x + p * cop, static_cast<const T*>(t.x) + at.place(p) * co, co);
            add_norm(s.x + p * cop, s.a + p * cop, co, t.norm1_weight, t.norm1_bias);
        }
        product(s.mixed, hp, s.x, cop, 1, t.hidden_weight, hp, PIXELS, co, hp, t.hidden_bias, 0);
        for (int i = 0; i < PIXELS * hp; i += LANES) store(s.mixed + i, gelu(load(s.mixed + i)));
        product(s.a, cop, s.mixed, hp, 1, t.out_weight, cop, PIXELS, t.ffn_hidden, cop, t.out_bias, 0);
        for (int p = 0; p < PIXELS; ++p) {
            add_norm(s.x + p * cop, s.a + p * cop, co, t.norm2_weight, t.norm2_bias);
            write(static_cast<T*>(t.y) + at.place(p) * co, s.x + p * cop, co);
        }
    }
}

template <typename T> void attend(const Attend& a, int threads, double* products) {
    const int n = 2 * a.channel_heads * padded(a.head_dim);
    share_out(a.batch * a.height / SIDE * (a.width / SIDE), threads, [&](int begin, int end, int thread) {
        attend_range<T>(a, begin, end, products + long(thread) * a.batch * n * n, scratch<Scratch>());
    });
}
template <typename T> void mix(T* y, int channels, int last, const float* weight, const float* bias, int batch, long pixels, int threads) {
    const long size = long(last) * padded(last);
    share_out(int(batch * (pixels / PIXELS)), threads, [&](int begin, int end, int) {
        for (int patch = begin; patch < end; ++patch)
            mix_range(y, channels, last, weight + patch / (pixels / PIXELS) * size, bias, long(patch) * PIXELS, long(patch + 1) * PIXELS);
    });
}
template <typename T> void transform(const Transform& t, int threads) {
    share_out(patches(t), threads, [&](int begin, int end, int) { transform_range<T>(t, begin, end, scratch<PatchScratch>()); });
}

}  // namespace

extern "C" {

// products: (threads, B, n, n), n = 2 channel_heads dp, zeros at first.
void attend_float32(const Attend* a, int threads, double* products) { attend<float>(*a, threads, products); }
void attend_bfloat16(const Attend* a, int threads, double* products) { attend<uint16_t>(*a, threads, products); }

// y: (B, pixels, channels), weight: a panel last x last for each image.
void mix_float32(float* y, int channels, int last, const float* weight, const float* bias, int batch, long pixels, int threads) {
    mix(y, channels, last, weight, bias, batch, pixels, threads);
}
void mix_bfloat16(uint16_t* y, int channels, int last, const float* weight, const float* bias, int batch, long pixels, int threads) {
    mix(y, channels, last, weight, bias, batch, pixels, threads);
}

void transform_float32(const Transform* t, int threads) { transform<float>(*t, threads); }
void transform_bfloat16(const Transform* t, int threads) { transform<uint16_t>(*t, threads); }
}
