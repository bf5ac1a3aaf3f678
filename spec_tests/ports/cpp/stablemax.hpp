// StableMax: docs/spec/stablemax.md.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include "call.hpp"
#include "tensor.hpp"

namespace port {

// s(x_i) / sum_j s(x_j) with s(x) = x + 1 for x >= 0 and 1 / (1 - x) below [STAB-1].
template <typename Real>
void run_stablemax(Call<Real>& call) {
    const Tensor<Real>& x = call.input("x", "batch dim");
    Tensor<Real> probabilities(x.shape);
    for (std::size_t n = 0; n < call.axis("batch"); ++n) {
        Vector<Real> share = x.vector(n);
        Real largest = 0;
        for (Real& entry : share) {
            entry = entry >= 0 ? entry + 1 : 1 / (1 - entry);
            largest = std::max(largest, entry);
        }
        Real total = 0;  // of the shares relative to the largest: their plain sum may overflow [STAB-3]
        for (Real& entry : share) {
            entry /= largest;
            total += entry;
        }
        for (Real& entry : share) entry /= total;
        probabilities.set_vector(share, n);
    }
    call.activation("probabilities", std::move(probabilities));
}

}  // namespace port
