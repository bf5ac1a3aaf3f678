// Adaptive computation time: docs/spec/act.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "call.hpp"
#include "errors.hpp"
#include "tensor.hpp"

namespace port {

// N is the first n with h_1 + .. + h_n >= threshold, or the last; the weights are h_1 .. h_{N-1} and the remainder.
template <typename Real>
void run_act_halt(Call<Real>& call) {
    const Real threshold = static_cast<Real>(call.number("threshold"));
    const Tensor<Real>& probabilities = call.input("probabilities", "batch steps");
    const std::size_t batch = call.axis("batch");
    const std::size_t steps = call.axis("steps");
    if (steps == 0) throw Error("act_halt: there is no step at which to halt");
    Indices halted(Shape{batch});
    Tensor<Real> weights(probabilities.shape);
    Tensor<Real> ponder(Shape{batch});
    for (std::size_t row = 0; row < batch; ++row) {
        Real before = 0;  // h_1 + .. + h_{N-1}
        std::size_t last = 0;
        while (last + 1 < steps && before + probabilities(row, last) < threshold) {
            weights(row, last) = probabilities(row, last);
            before += probabilities(row, last);
            ++last;
        }
        weights(row, last) = 1 - before;
        halted(row) = static_cast<std::int64_t>(last + 1);
        ponder(row) = static_cast<Real>(last + 1) + (1 - before);
    }
    call.state("halted", std::move(halted));
    call.state("weights", std::move(weights));
    call.state("ponder", std::move(ponder));
}

}  // namespace port
