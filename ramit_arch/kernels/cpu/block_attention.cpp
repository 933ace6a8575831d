// Spatial and channel attention of a block, forward only, window by window while it is in the first or second level
// cache. Maps are float32 or bfloat16; all arithmetic is float32.

#include "cosine_attention.h"
#include "parallel.h"

namespace {

struct WindowScratch {
    Head head;
    alignas(64) float tokens[PIXELS * MAX_ROW];
    alignas(64) float qkv[PIXELS * MAX_ROW];
    alignas(64) float attended[PIXELS * MAX_ROW];
    alignas(64) float projected[PIXELS * MAX_ROW];
    alignas(64) float products[MAX_CHANNEL_QK * MAX_CHANNEL_QK];
};

// Offsets in the map of the pixels of a window.
void locate_window(const BlockAttention& a, int window, long* place) {
    const int columns = a.width / SIDE, per_image = a.height / SIDE * columns;
    const int image = window / per_image, top = window % per_image / columns * SIDE, left = window % columns * SIDE;
    for (int p = 0; p < PIXELS; ++p) {
        int line = top + p / SIDE + a.shift, column = left + p % SIDE + a.shift;
        line -= line < a.height ? 0 : a.height;
        column -= column < a.width ? 0 : a.width;
        place[p] = ((long(image) * a.height + line) * a.width + column) * a.channels;
    }
}

// Reciprocal helper of a window: leaves the mean of the previous block's channel heads in s.head.gate, which multiplies
// v of every spatial head, and multiplies v of the channel heads by the mean of the previous block's spatial attention.
template <typename T>
void apply_helper(const BlockAttention& a, const long* place, int row, int padded_dim, WindowScratch& s) {
    const int d = a.head_dim, sp = a.spatial_heads * d, ch = a.channel_heads * d;
    alignas(64) float previous[MAX_ROW + PADDING];
    for (int p = 0; p < PIXELS; ++p) {
        copy(previous, static_cast<const T*>(a.helper) + place[p], a.channels);
        float* mean = s.head.gate + p * padded_dim;
        for (int i = 0; i < padded_dim; ++i) mean[i] = 0;
        for (int h = 0; h < a.channel_heads; ++h)
            for (int i = 0; i < d; ++i) mean[i] += previous[sp + h * d + i] * (1.0f / a.channel_heads);
        for (int i = sp; i < padded(sp); ++i) previous[i] = 0;
        Vector total{};
        for (int i = 0; i < sp; i += LANES) total += load(previous + i);
        const float factor = sum(total) / sp;
        float* values = s.qkv + p * row + 3 * sp + 2 * ch;
        for (int i = 0; i < ch; ++i) values[i] *= factor;
    }
}

template <typename T, int P>
void block_attention_range(const BlockAttention& a, int begin, int end, double* products, WindowScratch& s) {
    const int c = a.channels, d = a.head_dim, sp = a.spatial_heads * d, ch = a.channel_heads * d;
    const int row = padded(3 * c), sp_row = padded(sp), n = padded(2 * ch);
    const T *x = static_cast<const T*>(a.x), *helper = static_cast<const T*>(a.helper);
    const int per_image = a.height / SIDE * (a.width / SIDE);
    long place[PIXELS], next_place[PIXELS];
    locate_window(a, begin, next_place);
    for (int window = begin; window < end; ++window) {
        std::memcpy(place, next_place, sizeof(place));
        Prefetcher prefetcher(a.spatial_heads * 2 * PIXELS / ROWS);  // two products a head
        if (window + 1 < end) {
            locate_window(a, window + 1, next_place);
            for (int p = 0; p < PIXELS; p += SIDE / 2) {  // a shift keeps half rows together
                const long half_row = long(SIDE / 2) * c;
                prefetcher.add(x + next_place[p], half_row);
                if (a.helper) prefetcher.add(helper + next_place[p], half_row);
                prefetcher.add(static_cast<const T*>(a.y) + next_place[p], half_row);
            }
        }
        for (int p = 0; p < PIXELS; ++p) copy(s.tokens + p * c, x + place[p], c);
        matmul(s.qkv, row, s.tokens, c, 1, a.qkv_weight, row, PIXELS, c, row, a.qkv_bias, 0);
        if (a.helper) apply_helper<T>(a, place, row, P, s);
        for (int h = 0; h < a.spatial_heads; ++h) {
            gather_head<P>(s.head.q, s.qkv + h * d, row, d);
            gather_head<P>(s.head.k, s.qkv + sp + h * d, row, d);
            gather_head<P>(s.head.v, s.qkv + 2 * sp + h * d, row, d);
            if (a.helper) multiply<P>(s.head.v, s.head.v, s.head.gate);
            attend_head<P>(a.position_bias + h * PIXELS * PIXELS, a.scale[h], d, prefetcher, s.head);
            copy_rows(s.attended + h * d, sp, s.head.y, P, d);
        }
        matmul(s.projected, sp_row, s.attended, sp, 1, a.proj_weight, sp_row, PIXELS, sp, sp_row, a.proj_bias, 0);
        const float* channels = s.qkv + 3 * sp;
        for (int p = 0; p < PIXELS; ++p) {
            T* y = static_cast<T*>(a.y) + place[p];
            copy(y, s.projected + p * sp_row, sp);
            copy(y + sp, channels + p * row + 2 * ch, ch);
        }
        // Products of every two channels of q and k of the channel heads, added up over the windows of an image.
        double* total = products + long(window / per_image) * n * n;
        matmul(s.products, n, channels, 1, row, channels, row, n, PIXELS, n, nullptr, 0);
        for (int i = 0; i < n * n; ++i) total[i] += s.products[i];
    }
}

// Multiplies the last m.n channels of pixels by the matrix of their image.
template <typename T> void mix_channels_range(const ChannelMixing& m, const float* weight, long begin, long end) {
    const int columns = padded(m.n);
    alignas(64) float values[ROWS * MAX_CHANNEL_QK] = {}, mixed[ROWS * MAX_CHANNEL_QK];
    for (long p = begin; p < end; p += ROWS) {
        T* first = static_cast<T*>(m.y) + (p + 1) * m.channels - m.n;
        for (int i = 0; i < ROWS; ++i) copy(values + i * columns, first + i * m.channels, m.n);
        matmul(mixed, columns, values, columns, 1, weight, columns, ROWS, m.n, columns, m.bias, 0);
        for (int i = 0; i < ROWS; ++i) copy(first + i * m.channels, mixed + i * columns, m.n);
    }
}

template <typename T> void block_attention(const BlockAttention& a, int threads) {
    const int n = padded(2 * a.channel_heads * a.head_dim);
    parallel_for(a.batch * (a.height / SIDE) * (a.width / SIDE), threads, [&](int begin, int end, int thread) {
        double* products = a.products + long(thread) * a.batch * n * n;
        with_padded_head_dim(a.head_dim, [&](auto p) {
            block_attention_range<T, p()>(a, begin, end, products, scratch<WindowScratch>());
        });
    });
}

template <typename T> void mix_channels(const ChannelMixing& m, int threads) {
    const int per_image = m.pixels / PIXELS;
    const long size = long(m.n) * padded(m.n);
    parallel_for(m.batch * per_image, threads, [&](int begin, int end, int) {
        for (int patch = begin; patch < end; ++patch)
            mix_channels_range<T>(m, m.weight + patch / per_image * size, long(patch) * PIXELS,
                                  long(patch + 1) * PIXELS);
    });
}

}  // namespace

extern "C" {

void block_attention_float32(const BlockAttention* a, int threads) { block_attention<float>(*a, threads); }
void block_attention_bfloat16(const BlockAttention* a, int threads) { block_attention<uint16_t>(*a, threads); }

void mix_channels_float32(const ChannelMixing* m, int threads) { mix_channels<float>(*m, threads); }
void mix_channels_bfloat16(const ChannelMixing* m, int threads) { mix_channels<uint16_t>(*m, threads); }
}
