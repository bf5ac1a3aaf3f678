// Vectors and matrices in the precision of the run.
#pragma once

#include <cmath>
#include <cstddef>
#include <utility>

#include "tensor.hpp"

namespace port {

template <typename Real>
struct Matrix {
    std::size_t rows;
    std::size_t columns;
    Vector<Real> data;

    Matrix(std::size_t row_count, std::size_t column_count)
        : rows(row_count), columns(column_count), data(row_count * column_count) {}

    Real& operator()(std::size_t i, std::size_t j) { return data[i * columns + j]; }
    const Real& operator()(std::size_t i, std::size_t j) const { return data[i * columns + j]; }
};

template <typename Real>
Real dot(const Vector<Real>& a, const Vector<Real>& b) {
    Real sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

// ||x||. Squares of entries of 1e20 overflow in single precision and those of 1e-20 vanish; hypot does neither.
template <typename Real>
Real length(const Vector<Real>& x) {
    Real result = 0;
    for (const Real entry : x) result = std::hypot(result, entry);
    return result;
}

template <typename Real>
void add_scaled(Vector<Real>& sum, Real factor, const Vector<Real>& x) {
    for (std::size_t i = 0; i < x.size(); ++i) sum[i] += factor * x[i];
}

template <typename Real>
Real sigmoid(Real x) {
    return 1 / (1 + std::exp(-x));
}

template <typename Real>
Matrix<Real> transpose(const Matrix<Real>& a) {
    Matrix<Real> result(a.columns, a.rows);
    for (std::size_t i = 0; i < a.rows; ++i) {
        for (std::size_t j = 0; j < a.columns; ++j) result(j, i) = a(i, j);
    }
    return result;
}

template <typename Real>
Matrix<Real> multiply(const Matrix<Real>& a, const Matrix<Real>& b) {
    Matrix<Real> result(a.rows, b.columns);
    for (std::size_t i = 0; i < a.rows; ++i) {
        for (std::size_t k = 0; k < a.columns; ++k) {
            for (std::size_t j = 0; j < b.columns; ++j) result(i, j) += a(i, k) * b(k, j);
        }
    }
    return result;
}

template <typename Real>
Vector<Real> multiply(const Matrix<Real>& a, const Vector<Real>& x) {
    Vector<Real> result(a.rows);
    for (std::size_t i = 0; i < a.rows; ++i) {
        for (std::size_t j = 0; j < a.columns; ++j) result[i] += a(i, j) * x[j];
    }
    return result;
}

}  // namespace port
