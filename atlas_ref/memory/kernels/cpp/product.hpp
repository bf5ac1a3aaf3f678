// Products of small matrices whose rows are padded, in tiles that stay in registers.
#pragma once

#include "rows.hpp"

namespace kernels {

// The left side of a product: element (i, p) stands at data[i * row + p * column].
template <class T>
struct Left {
    const T* data;
    int row, column;
};

template <class T>
Left<T> straight(const Rows<T>& a) {
    return {a.data, a.width, 1};
}

template <class T>
Left<T> turned(const Rows<T>& a) {
    return {a.data, 1, a.width};
}

// HEIGHT rows of WIDTH registers of C.
template <class T, int HEIGHT, int WIDTH>
inline __attribute__((always_inline)) void tile(T* c, int c_width, const T* a, int row, int column, const T* b,
                                                int b_width, int inner, bool add) {
    typedef typename Register<T>::Type Lanes;
    constexpr int lanes = Register<T>::LANES;
    Lanes sum[HEIGHT][WIDTH];
#pragma GCC unroll 8
    for (int i = 0; i < HEIGHT; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < WIDTH; ++j)
            sum[i][j] = add ? *reinterpret_cast<const Lanes*>(c + i * c_width + j * lanes) : Lanes{};
    for (int p = 0; p < inner; ++p) {
        Lanes right[WIDTH];
#pragma GCC unroll 4
        for (int j = 0; j < WIDTH; ++j) right[j] = *reinterpret_cast<const Lanes*>(b + p * b_width + j * lanes);
#pragma GCC unroll 8
        for (int i = 0; i < HEIGHT; ++i) {
            const T left = a[i * row + p * column];
#pragma GCC unroll 4
            for (int j = 0; j < WIDTH; ++j) sum[i][j] += left * right[j];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < HEIGHT; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < WIDTH; ++j) *reinterpret_cast<Lanes*>(c + i * c_width + j * lanes) = sum[i][j];
}

// All rows of WIDTH registers of C, HEIGHT of them at a time, then 4, then single ones.
template <class T, int HEIGHT, int WIDTH>
void strip(T* c, int c_width, const Left<T>& a, const T* b, int b_width, int rows, int inner, bool add) {
    int i = 0;
    for (; i + HEIGHT <= rows; i += HEIGHT)
        tile<T, HEIGHT, WIDTH>(c + i * c_width, c_width, a.data + i * a.row, a.row, a.column, b, b_width, inner, add);
    for (; i + 4 <= rows; i += 4)
        tile<T, 4, WIDTH>(c + i * c_width, c_width, a.data + i * a.row, a.row, a.column, b, b_width, inner, add);
    for (; i < rows; ++i)
        tile<T, 1, WIDTH>(c + i * c_width, c_width, a.data + i * a.row, a.row, a.column, b, b_width, inner, add);
}

// Part of a product: `inner` rows of B, of which a strip fits into the first cache.
template <class T>
void part(const Rows<T>& c, const Left<T>& a, const Rows<T>& b, int rows, int width, int inner, bool add) {
    constexpr int lanes = Register<T>::LANES;
    int j = 0;
    if constexpr (REGISTER == 64) {  // 32 registers
        for (; j + 4 * lanes <= width; j += 4 * lanes)
            strip<T, 6, 4>(c.data + j, c.width, a, b.data + j, b.width, rows, inner, add);
        if (j + 3 * lanes <= width) {
            strip<T, 8, 3>(c.data + j, c.width, a, b.data + j, b.width, rows, inner, add);
            j += 3 * lanes;
        }
        if (j + 2 * lanes <= width) {
            strip<T, 8, 2>(c.data + j, c.width, a, b.data + j, b.width, rows, inner, add);
            j += 2 * lanes;
        }
    } else {  // 16 registers
        for (; j + 2 * lanes <= width; j += 2 * lanes)
            strip<T, 6, 2>(c.data + j, c.width, a, b.data + j, b.width, rows, inner, add);
    }
    if (j < width) strip<T, 8, 1>(c.data + j, c.width, a, b.data + j, b.width, rows, inner, add);
}

// C = A B, or C += A B: `rows` by `columns`, summed over `inner`.
template <class T>
__attribute__((noinline)) void product(const Rows<T>& c, const Left<T>& a, const Rows<T>& b, int rows, int columns,
                                       int inner, bool add = false) {
    constexpr int most = 64;
    const int width = padded<T>(columns);
    part(c, a, b, rows, width, std::min(inner, most), add);
    for (int p = most; p < inner; p += most)
        part<T>(c, {a.data + p * a.column, a.row, a.column}, {b[p], b.width}, rows, width, std::min(most, inner - p), true);
}

}  // namespace kernels
