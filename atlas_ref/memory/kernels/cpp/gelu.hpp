// gelu(z) = z Phi(z) with its first two derivatives, Phi + z phi and phi (2 - z^2).
#pragma once

#include <cmath>

#include "exponential.hpp"

namespace kernels {

// erf by a quotient of polynomials on [-4, 4], beyond which it is 1 in float.
inline float error_function(float x) {
    x = std::min(std::max(x, -4.0f), 4.0f);
    const float q = x * x;
    float p = -2.72614225801306e-10f;
    p = p * q + 2.77068142495902e-08f;
    p = p * q - 2.10102402082508e-06f;
    p = p * q - 5.69250639462346e-05f;
    p = p * q - 7.34990630326855e-04f;
    p = p * q - 2.95459980854025e-03f;
    p = p * q - 1.60960333262415e-02f;
    float d = -1.45660718464996e-05f;
    d = d * q - 2.13374055278905e-04f;
    d = d * q - 1.68282697438203e-03f;
    d = d * q - 7.37332916720468e-03f;
    d = d * q - 1.42647390514189e-02f;
    return x * p / d;
}

inline double error_function(double x) { return std::erf(x); }

template <class T>
T density(T z) {
    return T(0.39894228040143267794) * exponential(T(-0.5) * z * z);
}

template <class T>
void gelu(const T* __restrict z, T* __restrict value, T* __restrict slope, int n) {
#pragma omp simd
    for (int i = 0; i < n; ++i) {
        const T below = T(0.5) * (T(1) + error_function(z[i] * T(0.70710678118654752440)));
        value[i] = z[i] * below;
        slope[i] = below + z[i] * density(z[i]);
    }
}

// y += x gelu''(z).
template <class T>
void add_bend(T* __restrict y, const T* __restrict x, const T* __restrict z, int n) {
#pragma omp simd
    for (int i = 0; i < n; ++i) y[i] += x[i] * density(z[i]) * (T(2) - z[i] * z[i]);
}

}  // namespace kernels
