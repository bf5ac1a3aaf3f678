// Normalisation of vectors: docs/spec/normalize.md.
#pragma once

#include <cmath>
#include <cstddef>
#include <utility>

#include "call.hpp"
#include "linear.hpp"
#include "tensor.hpp"

namespace port {

// y = x / sqrt(||x||^2 + eps^2) [NORM-1]; hypot neither overflows nor underflows [NORM-3].
template <typename Real>
void run_l2_normalize(Call<Real>& call) {
    const Real eps = static_cast<Real>(call.number("eps"));
    const Tensor<Real>& x = call.input("x", "batch dim");
    Tensor<Real> y(x.shape);
    for (std::size_t n = 0; n < call.axis("batch"); ++n) {
        Vector<Real> vector = x.vector(n);
        const Real divisor = std::hypot(length(vector), eps);
        for (Real& entry : vector) entry /= divisor;
        y.set_vector(vector, n);
    }
    call.activation("y", std::move(y));
}

}  // namespace port
