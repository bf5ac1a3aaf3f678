// M3 state mixing: docs/spec/m3.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "call.hpp"
#include "linear.hpp"
#include "tensor.hpp"

namespace port {

// 0.1 + 0.4 n / warmup while n < warmup, then sigmoid(logit) [M3-1].
template <typename Real>
Real m3_mixing(std::int64_t crossings, std::size_t warmup, Real logit) {
    if (static_cast<std::size_t>(crossings) < warmup) {
        return static_cast<Real>(0.1 + 0.4 * static_cast<double>(crossings) / static_cast<double>(warmup));
    }
    return sigmoid(logit);
}

template <typename Real>
void run_m3_mix(Call<Real>& call) {
    const std::size_t warmup = call.integer("warmup_crossings", 0);
    const Tensor<Real>& previous = call.input("previous", "batch rows columns");
    const Tensor<Real>& initial = call.input("initial", "rows columns");
    const Indices& crossings = call.indices("crossings", "batch");
    const Real logit = call.input("alpha_logit", "").data[0];

    Tensor<Real> mixing(Shape{call.axis("batch")});
    Tensor<Real> mixed(previous.shape);
    for (std::size_t row = 0; row < call.axis("batch"); ++row) {
        const Real share = m3_mixing(crossings(row), warmup, logit);
        mixing(row) = share;
        for (std::size_t i = 0; i < call.axis("rows"); ++i) {
            for (std::size_t j = 0; j < call.axis("columns"); ++j) {
                mixed(row, i, j) = share * previous(row, i, j) + (1 - share) * initial(i, j);
            }
        }
    }
    call.state("mixing", std::move(mixing));
    call.state("mixed", std::move(mixed));
}

}  // namespace port
