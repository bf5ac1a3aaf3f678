// Transposes: blocks of eight by eight floats change their places in registers, which memory an element at a time is
// four times as slow at.
#pragma once

#include <algorithm>
#include <type_traits>

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace kernels {

// Part of `transpose`: rows from `first` on, columns from `left` on.
template <class T>
void transpose_plainly(T* __restrict to, int to_width, const T* __restrict from, int from_width, int first, int rows,
                       int left, int columns) {
    constexpr int block = 16;
    for (int begin = first; begin < rows; begin += block) {
        const int end = std::min(begin + block, rows);
        for (int j = left; j < columns; ++j) {
#pragma omp simd
            for (int i = begin; i < end; ++i) to[j * to_width + i] = from[i * from_width + j];
        }
    }
}

#if defined(__AVX__)
inline __attribute__((always_inline)) void transpose_block(float* to, int to_width, const float* from, int from_width) {
    __m256 pairs[8], fours[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        const __m256 a = _mm256_loadu_ps(from + i * from_width), b = _mm256_loadu_ps(from + (i + 1) * from_width);
        pairs[i] = _mm256_unpacklo_ps(a, b), pairs[i + 1] = _mm256_unpackhi_ps(a, b);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; ++j) {
            const __m256 a = pairs[i + j], b = pairs[i + 2 + j];
            fours[i + 2 * j] = _mm256_shuffle_ps(a, b, 0x44), fours[i + 2 * j + 1] = _mm256_shuffle_ps(a, b, 0xee);
        }
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
        _mm256_storeu_ps(to + j * to_width, _mm256_permute2f128_ps(fours[j], fours[4 + j], 0x20));
        _mm256_storeu_ps(to + (4 + j) * to_width, _mm256_permute2f128_ps(fours[j], fours[4 + j], 0x31));
    }
}
#endif

// to[j, i] = from[i, j] for rows x columns of `from`.
template <class T>
void transpose(T* __restrict to, int to_width, const T* __restrict from, int from_width, int rows, int columns) {
    int whole_rows = 0, whole_columns = 0;
#if defined(__AVX__)
    if constexpr (std::is_same_v<T, float>) {
        whole_rows = rows / 8 * 8, whole_columns = columns / 8 * 8;
        for (int i = 0; i < whole_rows; i += 8)
            for (int j = 0; j < whole_columns; j += 8)
                transpose_block(to + j * to_width + i, to_width, from + i * from_width + j, from_width);
    }
#endif
    transpose_plainly(to, to_width, from, from_width, 0, whole_rows, whole_columns, columns);
    transpose_plainly(to, to_width, from, from_width, whole_rows, rows, 0, columns);
}

}  // namespace kernels
