// RAMiT's blocks on a CPU, forward only: everything that happens to a patch of 8x8 pixels happens while it is in the first
// or second level cache. Maps are channels last, (B, H, W, C), float32 or bfloat16; all arithmetic is float32.

#include "transform.h"
#include "window.h"

extern "C" {

struct Attend {
    int batch, height, width, channels;
    int spatial_heads, channel_heads, head_dim, shift;
    int helped;
    const void *x, *helpers;        // (B, H, W, C); helpers: spatial, then channel attention of the previous block
    void* y;                        // (B, H, W, C): spatial attention, then the values of the channel heads
    const float* qkv_weight;        // panel C x 3C: q, k, v of the spatial heads, then of the channel heads
    const float* qkv_bias;
    const float* scale;             // spatial_heads
    const float* position_bias;     // (spatial_heads, PIXELS keys, PIXELS queries)
    const float* proj_weight;       // panel, of the spatial heads' channels
    const float* proj_bias;
};
}

namespace {

struct WindowScratch {
    Head head;
    alignas(64) float tokens[PIXELS * MOST];
    alignas(64) float qkv[PIXELS * MOST];
    alignas(64) float attended[PIXELS * MOST];
    alignas(64) float projected[PIXELS * MOST];
    alignas(64) float products[128 * 128];
};

// Where the pixels of a window lie in the map.
void find_window(const Attend& a, int window, long* place) {
    const int columns = a.width / SIDE, per_image = a.height / SIDE * columns;
    const int image = window / per_image, top = window % per_image / columns * SIDE, left = window % columns * SIDE;
    for (int p = 0; p < PIXELS; ++p) {
        int line = top + p / SIDE + a.shift, column = left + p % SIDE + a.shift;
        line -= line < a.height ? 0 : a.height;
        column -= column < a.width ? 0 : a.width;
        place[p] = ((long(image) * a.height + line) * a.width + column) * a.channels;
    }
}

// Gates of a window from the attentions of the block before: leaves the mean of the channel heads, which multiplies the
// values of every spatial head, in s.head.gate, and multiplies the values of the channel heads by the mean of the spatial
// heads' channels.
template <typename T>
void gate(const Attend& a, const long* place, int row, int padded_dim, WindowScratch& s) {
    const int d = a.head_dim, sp = a.spatial_heads * d, ch = a.channel_heads * d;
    alignas(64) float helper[MOST + PANEL];
    for (int p = 0; p < PIXELS; ++p) {
        copy(helper, static_cast<const T*>(a.helpers) + place[p], a.channels);
        float* mean = s.head.gate + p * padded_dim;
        for (int i = 0; i < padded_dim; ++i) mean[i] = 0;
        for (int h = 0; h < a.channel_heads; ++h)
            for (int i = 0; i < d; ++i) mean[i] += helper[sp + h * d + i] * (1.0f / a.channel_heads);
        for (int i = sp; i < padded(sp); ++i) helper[i] = 0;
        Vector total{};
        for (int i = 0; i < sp; i += LANES) total += load(helper + i);
        const float factor = sum(total) / sp;
        float* values = s.qkv + p * row + 3 * sp + 2 * ch;
        for (int i = 0; i < ch; ++i) values[i] *= factor;
    }
}

template <typename T, int P>
void attend_range(const Attend& a, int begin, int end, double* products, WindowScratch& s) {
    const int c = a.channels, d = a.head_dim, sp = a.spatial_heads * d, ch = a.channel_heads * d;
    const int row = padded(3 * c), sp_row = padded(sp), n = padded(2 * ch);
    const T *x = static_cast<const T*>(a.x), *helpers = static_cast<const T*>(a.helpers);
    const int per_image = a.height / SIDE * (a.width / SIDE);
    long place[PIXELS], next_place[PIXELS];
    find_window(a, begin, next_place);
    for (int window = begin; window < end; ++window) {
        std::memcpy(place, next_place, sizeof(place));
        Ahead ahead(a.spatial_heads * 2 * PIXELS / ROWS);  // two products a head
        if (window + 1 < end) {
            find_window(a, window + 1, next_place);
            for (int p = 0; p < PIXELS; p += SIDE / 2) {  // a shift keeps half rows together
                const long half_row = long(SIDE / 2) * c;
                ahead.add(x + next_place[p], half_row);
                if (a.helped) ahead.add(helpers + next_place[p], half_row);
                ahead.add(static_cast<const T*>(a.y) + next_place[p], half_row);
            }
        }
        for (int p = 0; p < PIXELS; ++p) copy(s.tokens + p * c, x + place[p], c);
        product(s.qkv, row, s.tokens, c, 1, a.qkv_weight, row, PIXELS, c, row, a.qkv_bias, 0);
        if (a.helped) gate<T>(a, place, row, P, s);
        for (int h = 0; h < a.spatial_heads; ++h) {
            pick<P>(s.head.q, s.qkv + h * d, row, d);
            pick<P>(s.head.k, s.qkv + sp + h * d, row, d);
            pick<P>(s.head.v, s.qkv + 2 * sp + h * d, row, d);
            if (a.helped) multiply<P>(s.head.v, s.head.v, s.head.gate);
            attend_head<P>(a.position_bias + h * PIXELS * PIXELS, a.scale[h], d, ahead, s.head);
            copy_rows(s.attended + h * d, sp, s.head.y, P, d);
        }
        product(s.projected, sp_row, s.attended, sp, 1, a.proj_weight, sp_row, PIXELS, sp, sp_row, a.proj_bias, 0);
        const float* channels = s.qkv + 3 * sp;
        for (int p = 0; p < PIXELS; ++p) {
            T* y = static_cast<T*>(a.y) + place[p];
            copy(y, s.projected + p * sp_row, sp);
            copy(y + sp, channels + p * row + 2 * ch, ch);
        }
        // Of every two channels of the channel heads' queries and keys, added up over the windows of an image.
        double* total = products + long(window / per_image) * n * n;
        product(s.products, n, channels, 1, row, channels, row, n, PIXELS, n, nullptr, 0);
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
        for (int i = 0; i < ROWS; ++i) copy(values + i * columns, first + i * channels, last);
        product(mixed, columns, values, columns, 1, weight, columns, ROWS, last, columns, bias, 0);
        for (int i = 0; i < ROWS; ++i) copy(first + i * channels, mixed + i * columns, last);
    }
}

template <typename T>
void transform_range(const Transform& t, int begin, int end, PatchScratch& s) {
    const int co = t.out_channels, cop = padded(co), hp = padded(t.ffn_hidden);
    for (int patch = begin; patch < end; ++patch) {
        const Patch at(t, patch);
        Ahead ahead(3 * PIXELS / ROWS);  // three products
        if (patch + 1 < end) {
            const Patch next(t, patch + 1);
            add_rows(ahead, static_cast<const T*>(t.attentions), next, t.in_channels, 1);
            if (t.ffn_hidden) {
                add_rows(ahead, static_cast<const T*>(t.x), next, co, 0);
                add_rows(ahead, static_cast<const T*>(t.y), next, co, 0);
            }
        }
        mix_patch<T>(t, at, ahead, s, s.a, nullptr);
        if (t.keep_mix)
            for (int p = 0; p < PIXELS; ++p) copy(static_cast<T*>(t.mix) + at.place(p) * co, s.a + p * cop, co);
        if (!t.ffn_hidden) continue;
        for (int p = 0; p < PIXELS; ++p) {
            copy(s.x + p * cop, static_cast<const T*>(t.x) + at.place(p) * co, co);
            add_norm(s.x + p * cop, s.a + p * cop, co, t.norm1_weight, t.norm1_bias);
        }
        product(s.mixed, hp, s.x, cop, 1, t.hidden_weight, hp, PIXELS, co, hp, t.hidden_bias, 0, &ahead);
        for (int i = 0; i < PIXELS * hp; i += LANES) store(s.mixed + i, gelu(load(s.mixed + i)));
        product(s.a, cop, s.mixed, hp, 1, t.out_weight, cop, PIXELS, t.ffn_hidden, cop, t.out_bias, 0, &ahead);
        for (int p = 0; p < PIXELS; ++p) {
            add_norm(s.x + p * cop, s.a + p * cop, co, t.norm2_weight, t.norm2_bias);
            copy(static_cast<T*>(t.y) + at.place(p) * co, s.x + p * cop, co);
        }
    }
}

template <typename T> void attend(const Attend& a, int threads, double* products) {
    const int n = padded(2 * a.channel_heads * a.head_dim);
    share_out(a.batch * (a.height / SIDE) * (a.width / SIDE), threads, [&](int begin, int end, int thread) {
        double* own = products + long(thread) * a.batch * n * n;
        with_padded(a.head_dim, [&](auto p) { attend_range<T, p()>(a, begin, end, own, scratch<WindowScratch>()); });
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

// products: (threads, B, n, n), n the padded number of the channel heads' queries and keys, zeros at first.
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
