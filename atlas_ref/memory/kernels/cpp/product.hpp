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

constexpr int FAR = 1 << 28;

// What of a product need not be computed.
struct Extent {
    int from = -FAR, to = FAR;  // row i of the left side is zero before column i + from and from i + to on
    int wanted = FAR;           // row i of the result is wanted before column i + wanted
};

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

// Part of a product: `inner` rows of B, of which a strip fits into the first cache.
template <class T>
struct Part {
    const Rows<T> c;
    const Left<T> a;
    const Rows<T> b;
    const int rows, width, inner;
    const bool add;
    const Extent extent;

    void all() const {
        int j = 0;
        if constexpr (REGISTER == 64) {  // 32 registers
            // Wide strips leave nothing out.
            if (extent.wanted == FAR) j = strips<8, 3>(strips<6, 4>(j));
            j = strips<8, 2>(j);
        } else {  // 16 registers
            j = strips<6, 2>(j);
        }
        strips<8, 1>(j);
    }

   private:
    // As many strips of WIDTH registers as there are from column j on; the first column behind them.
    template <int HEIGHT, int WIDTH>
    int strips(int j) const {
        constexpr int columns = WIDTH * Register<T>::LANES;
        for (; j + columns <= width; j += columns) strip<HEIGHT, WIDTH>(j);
        return j;
    }

    // Rows of WIDTH registers of C, HEIGHT of them at a time, then 4, then single ones.
    template <int HEIGHT, int WIDTH>
    __attribute__((noinline)) void strip(int j) const {
        int i = std::max(0, j + 1 - extent.wanted);
        for (; i + HEIGHT <= rows; i += HEIGHT) some<HEIGHT, WIDTH>(i, j);
        for (; i + 4 <= rows; i += 4) some<4, WIDTH>(i, j);
        for (; i < rows; ++i) some<1, WIDTH>(i, j);
    }

    template <int HEIGHT, int WIDTH>
    __attribute__((always_inline)) void some(int i, int j) const {
        const int from = std::min(std::max(0, i + extent.from), inner);
        const int to = std::min(inner, i + HEIGHT - 1 + extent.to);
        tile<T, HEIGHT, WIDTH>(c[i] + j, c.width, a.data + i * a.row + from * a.column, a.row, a.column, b[from] + j,
                               b.width, to - from, add);
    }
};

// C = A B, or C += A B: `rows` by `columns`, summed over `inner`.
template <class T>
__attribute__((noinline)) void product(const Rows<T>& c, const Left<T>& a, const Rows<T>& b, int rows, int columns,
                                       int inner, bool add = false, const Extent& extent = {}) {
    constexpr int most = 64;
    for (int p = 0; p == 0 || p < inner; p += most) {
        const Left<T> left{a.data + p * a.column, a.row, a.column};
        const Extent rest{extent.from - p, extent.to - p, extent.wanted};
        Part<T>{c, left, {b[p], b.width}, rows, padded<T>(columns), std::min(most, inner - p), add || p > 0, rest}.all();
    }
}

}  // namespace kernels
