// What all kernels compute with: rows padded to whole registers, memory of a thread, and threads.
//
// What stands in padding is never read into a number that is kept: sums run over the width of the data, and a column of
// a product depends on that column of its right side alone.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "transpose.hpp"

namespace kernels {

#if defined(__AVX512F__)
constexpr int REGISTER = 64;
#elif defined(__AVX__)
constexpr int REGISTER = 32;
#else
constexpr int REGISTER = 16;
#endif

// A register of T where it is aligned, and one that may be anywhere.
template <class T>
struct Register {
    typedef T Type __attribute__((vector_size(REGISTER), aligned(REGISTER)));
    typedef T Anywhere __attribute__((vector_size(REGISTER), aligned(alignof(T)), may_alias));
    static constexpr int LANES = REGISTER / sizeof(T);
};

// n numbers in whole registers.
template <class T>
constexpr int padded(int64_t n) {
    constexpr int lanes = Register<T>::LANES;
    return static_cast<int>((n + lanes - 1) / lanes * lanes);
}

// From one row of n numbers to the next: whole registers, and not a multiple of 512 bytes, as few lines of a cache would
// hold a column of such rows.
template <class T>
constexpr int stride(int64_t n) {
    const int width = padded<T>(n);
    return width * sizeof(T) % 512 ? width : width + Register<T>::LANES;
}

// Rows of one stride.
template <class T>
struct Rows {
    T* data;
    int width;
    T* operator[](int i) const { return data + static_cast<std::ptrdiff_t>(i) * width; }
};

// Memory of one thread, zero at first, given back when the thread is done.
template <class T>
class Workspace {
   public:
    Rows<T> rows(int64_t count, int64_t length) {
        const int width = stride<T>(length);
        const std::size_t numbers = std::max<std::size_t>(1, static_cast<std::size_t>(count) * width);
        void* memory = ::operator new(numbers * sizeof(T), std::align_val_t(REGISTER));
        held_.emplace_back(memory);
        std::memset(memory, 0, numbers * sizeof(T));
        return {static_cast<T*>(memory), width};
    }

    T* row(int64_t length) { return rows(1, length).data; }

   private:
    struct Free {
        void operator()(void* memory) const { ::operator delete(memory, std::align_val_t(REGISTER)); }
    };
    std::vector<std::unique_ptr<void, Free>> held_;
};

// In four sums: each addition of one waits for the one before.
template <class T>
T dot(const T* a, const T* b, int n) {
    typedef typename Register<T>::Anywhere Lanes;
    constexpr int lanes = Register<T>::LANES;
    const auto at = [](const T* x) { return *reinterpret_cast<const Lanes*>(x); };
    Lanes sums[4] = {};
    int i = 0;
    for (; i + 4 * lanes <= n; i += 4 * lanes)
        for (int k = 0; k < 4; ++k) sums[k] += at(a + i + k * lanes) * at(b + i + k * lanes);
    for (; i + lanes <= n; i += lanes) sums[0] += at(a + i) * at(b + i);
    sums[0] += sums[1] + sums[2] + sums[3];
    T sum = 0;
    for (int k = 0; k < lanes; ++k) sum += sums[0][k];
    for (; i < n; ++i) sum += a[i] * b[i];
    return sum;
}

template <class T>
void add_scaled(T* __restrict y, T factor, const T* __restrict x, int n) {
#pragma omp simd
    for (int i = 0; i < n; ++i) y[i] += factor * x[i];
}

// y += a o b.
template <class T>
void add_product(T* __restrict y, const T* a, const T* b, int n) {
#pragma omp simd
    for (int i = 0; i < n; ++i) y[i] += a[i] * b[i];
}

// y = y o x.
template <class T>
void multiply(T* __restrict y, const T* __restrict x, int n) {
#pragma omp simd
    for (int i = 0; i < n; ++i) y[i] *= x[i];
}

// y and x may be the same.
template <class T>
void scale_to(T* y, T factor, const T* x, int n) {
#pragma omp simd
    for (int i = 0; i < n; ++i) y[i] = factor * x[i];
}

// Do task(worker(), n) for every n below `count` on some threads; false where memory is short.
template <class Make, class Task>
bool each(int64_t threads, int64_t count, Make make, Task task) {
    std::atomic<int64_t> next{0};
    std::atomic<bool> short_of_memory{false};
    auto work = [&] {
        try {
            auto worker = make();
            for (int64_t n = next++; n < count; n = next++) task(*worker, n);
        } catch (const std::bad_alloc&) {
            short_of_memory = true;
        }
    };
    std::vector<std::thread> others;
    try {
        for (int64_t i = 1; i < std::min(threads, count); ++i) others.emplace_back(work);
    } catch (const std::system_error&) {
        // No more threads are to be had: those that there are do all.
    }
    work();
    for (std::thread& other : others) other.join();
    return !short_of_memory;
}

}  // namespace kernels
