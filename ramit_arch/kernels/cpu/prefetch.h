// Prefetches the data of the next window or patch while the current one is computed.

#pragma once

namespace {

// Brings ranges of memory into the second level cache, a few cache lines at each call of `next`. The rows of a window
// lie far apart in memory, where hardware prefetching does not reach them; waiting for them takes up to a quarter of
// the time.
class Prefetcher {
  public:
    // steps: number of calls of `next` that are to come.
    explicit Prefetcher(int steps) : steps(steps) {}

    template <typename T> void add(const T* first, long n) {
        const char* begin = reinterpret_cast<const char*>(first);
        if (count == MAX_RANGES) return;
        ranges[count++] = {begin, begin + n * long(sizeof(T))};
        lines += n * long(sizeof(T)) / LINE + 1;
    }
    void next() {
        for (long left = lines / steps + 1; left > 0 && current < count; --left) {
            Range& range = ranges[current];
            __builtin_prefetch(range.begin, 0, 2);
            range.begin += LINE;
            if (range.begin >= range.end) ++current;
        }
    }

  private:
    static constexpr int LINE = 64;  // bytes of a cache line
    static constexpr int MAX_RANGES = 64;
    struct Range {
        const char *begin, *end;
    };
    Range ranges[MAX_RANGES];
    int count = 0, current = 0;
    long lines = 0;
    const int steps;
};

}  // namespace
