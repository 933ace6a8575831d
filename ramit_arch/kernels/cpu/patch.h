// Patches of 8x8 pixels of a channels-last map, and the border of one pixel around them.

#pragma once

#include "prefetch.h"
#include "simd.h"

namespace {

constexpr int HALO = SIDE + 2;  // side of a patch with its border

INLINE int patch_count(const PostAttention& t) { return t.batch * (t.height / SIDE) * (t.width / SIDE); }

// Place of a patch in its map.
struct Patch {
    int height, width, image, top, left;

    Patch(const PostAttention& t, int patch) : height(t.height), width(t.width) {
        const int columns = width / SIDE, per_image = height / SIDE * columns;
        image = patch / per_image;
        top = patch % per_image / columns * SIDE;
        left = patch % columns * SIDE;
    }
    // Index in the map of pixel p of the patch.
    long place(int p) const { return (long(image) * height + top + p / SIDE) * width + left + p % SIDE; }
    // Index in the map of pixel p of the patch with its border; -1 outside the image.
    long halo_place(int p) const {
        const int row = top + p / HALO - 1, column = left + p % HALO - 1;
        if (row < 0 || row >= height || column < 0 || column >= width) return -1;
        return (long(image) * height + row) * width + column;
    }
};

// Index of pixel p of a patch among the pixels of the patch with its border.
INLINE int in_halo(int p) { return (p / SIDE + 1) * HALO + p % SIDE + 1; }

// Prefetches a patch of a map with n channels, and `border` pixels above, below and to the right of it; those to the
// left were read with the previous patch.
template <typename T> void prefetch_patch(Prefetcher& prefetcher, const T* map, const Patch& at, int n, int border) {
    for (int row = -border; row < SIDE + border; ++row) {
        const int line = at.top + row;
        if (line >= 0 && line < at.height)
            prefetcher.add(map + ((long(at.image) * at.height + line) * at.width + at.left) * n,
                           long(SIDE + border) * n);
    }
}

// Reads a patch and its border into rows of n channels padded with zeros; all zeros outside the image.
template <typename T> void read_halo(float* to, const T* map, const Patch& at, int n) {
    const int row = padded(n);
    for (int p = 0; p < HALO * HALO; ++p, to += row) {
        const long place = at.halo_place(p);
        if (place < 0) {
            std::memset(to, 0, sizeof(float) * row);
        } else {
            copy(to, map + place * n, n);
            for (int i = n; i < row; ++i) to[i] = 0;
        }
    }
}

}  // namespace
