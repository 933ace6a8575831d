// The rest of a block after its attentions, forward: MobiVari, norm, feed-forward network, norm, patch by patch.
// Maps are float32 or bfloat16; all arithmetic is float32.

#include "layer_norm.h"
#include "mobivari.h"
#include "parallel.h"

namespace {

template <typename T> void post_attention_range(const PostAttention& t, int begin, int end, PatchScratch& s) {
    const int co = t.out_channels, cop = padded(co), hp = padded(t.ffn_hidden);
    for (int patch = begin; patch < end; ++patch) {
        const Patch at(t, patch);
        Prefetcher prefetcher(3 * PIXELS / ROWS);  // three products
        if (patch + 1 < end) {
            const Patch next(t, patch + 1);
            prefetch_patch(prefetcher, static_cast<const T*>(t.attentions), next, t.in_channels, 1);
            if (t.ffn_hidden) {
                prefetch_patch(prefetcher, static_cast<const T*>(t.x), next, co, 0);
                prefetch_patch(prefetcher, static_cast<const T*>(t.y), next, co, 0);
            }
        }
        mobivari<T>(t, at, prefetcher, s, s.result, nullptr);
        if (t.keep_mixed)
            for (int p = 0; p < PIXELS; ++p) copy(static_cast<T*>(t.mixed) + at.place(p) * co, s.result + p * cop, co);
        if (!t.ffn_hidden) continue;
        for (int p = 0; p < PIXELS; ++p) {
            copy(s.x + p * cop, static_cast<const T*>(t.x) + at.place(p) * co, co);
            add_norm(s.x + p * cop, s.result + p * cop, co, t.norm1_weight, t.norm1_bias);
        }
        matmul(s.hidden, hp, s.x, cop, 1, t.hidden_weight, hp, PIXELS, co, hp, t.hidden_bias, 0, &prefetcher);
        for (int i = 0; i < PIXELS * hp; i += LANES) store(s.hidden + i, gelu(load(s.hidden + i)));
        matmul(s.result, cop, s.hidden, hp, 1, t.out_weight, cop, PIXELS, t.ffn_hidden, cop, t.out_bias, 0,
               &prefetcher);
        for (int p = 0; p < PIXELS; ++p) {
            add_norm(s.x + p * cop, s.result + p * cop, co, t.norm2_weight, t.norm2_bias);
            copy(static_cast<T*>(t.y) + at.place(p) * co, s.x + p * cop, co);
        }
    }
}

template <typename T> void post_attention(const PostAttention& t, int threads) {
    parallel_for(patch_count(t), threads,
                 [&](int begin, int end, int) { post_attention_range<T>(t, begin, end, scratch<PatchScratch>()); });
}

}  // namespace

extern "C" {

void post_attention_float32(const PostAttention* t, int threads) { post_attention<float>(*t, threads); }
void post_attention_bfloat16(const PostAttention* t, int threads) { post_attention<uint16_t>(*t, threads); }
}
