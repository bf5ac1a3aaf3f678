// Running-mean memory: docs/spec/ltm.md.
#pragma once

#include <cstddef>
#include <utility>

#include "call.hpp"
#include "tensor.hpp"

namespace port {

// m_t = d m_{t-1} + (1 - d) x_t, from zero at the first token of a document [LTM-1, LTM-2].
template <typename Real>
void run_ltm_scan(Call<Real>& call) {
    const Real decay = static_cast<Real>(call.number("decay"));
    const Tensor<Real>& x = call.input("x", "batch time dim");
    const Tensor<Real>& carry = call.input("carry", "batch dim");
    const Indices& position = call.indices("position", "batch time");
    Tensor<Real> y(x.shape);
    Tensor<Real> new_carry(carry.shape);
    for (std::size_t row = 0; row < call.axis("batch"); ++row) {
        Vector<Real> mean = carry.vector(row);
        for (std::size_t t = 0; t < call.axis("time"); ++t) {
            if (position(row, t) == 0) mean = Vector<Real>(mean.size());
            for (std::size_t i = 0; i < mean.size(); ++i) mean[i] = decay * mean[i] + (1 - decay) * x(row, t, i);
            y.set_vector(mean, row, t);
        }
        new_carry.set_vector(mean, row);
    }
    call.activation("y", std::move(y));
    call.state("carry", std::move(new_carry));
}

}  // namespace port
