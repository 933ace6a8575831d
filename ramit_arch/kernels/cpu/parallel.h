// Threads, and their working memory.

#pragma once

#include <memory>
#ifdef _OPENMP
#include <omp.h>
#endif

namespace {

// Calls function(begin, end, thread) on each of the threads, with its part of the range from 0 to total.
template <typename F> void parallel_for(int total, int threads, F function) {
#pragma omp parallel num_threads(threads)
    {
        int id = 0, team = 1;
#ifdef _OPENMP
        id = omp_get_thread_num();
        team = omp_get_num_threads();
#endif
        const int begin = int(long(total) * id / team), end = int(long(total) * (id + 1) / team);
        if (begin < end) function(begin, end, id);
    }
}

// Working memory of the calling thread, kept until its next call.
template <typename S> S& scratch() {
    static thread_local std::unique_ptr<S> memory(new S());
    return *memory;
}

}  // namespace
