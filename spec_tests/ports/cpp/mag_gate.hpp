// Gate of the MAG block: docs/spec/mag_gate.md.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "call.hpp"
#include "linear.hpp"
#include "tensor.hpp"

namespace port {

// `source`: y = g m, g from the attention; `convex`: y = g a + (1 - g) m, g from the logits [MAG-1, MAG-2]; `convex_memory`: y = g m + (1 - g) a [MAG-9];
// `gated_attention`: y = g a, g from the memory; `product`: y = a m, with a for a gate [MAG-7, MAG-8].
template <typename Real>
void run_mag_gate(Call<Real>& call) {
    const std::string kind = call.choice("kind", {"source", "convex", "convex_memory", "gated_attention", "product"});
    const Real floor = static_cast<Real>(call.number("floor"));
    const Tensor<Real>& attention = call.input("attention", "batch time dim");
    const Tensor<Real>& memory = call.input("memory", "batch time dim");
    const Tensor<Real>& logits = call.input("logits", "batch time dim");
    Tensor<Real> gate(attention.shape);
    Tensor<Real> joined(attention.shape);
    for (std::size_t i = 0; i < gate.data.size(); ++i) {
        const Real a = attention.data[i];
        const Real m = memory.data[i];
        const Real below = kind == "source" ? a : kind == "gated_attention" ? m : logits.data[i];
        const Real g = kind == "product" ? a : floor + (1 - floor) * sigmoid(below);
        gate.data[i] = g;
        joined.data[i] = kind == "convex"            ? g * a + (1 - g) * m
                         : kind == "convex_memory"   ? g * m + (1 - g) * a
                         : kind == "gated_attention" ? g * a
                                                     : g * m;
    }
    call.state("gate", std::move(gate));
    call.activation("joined", std::move(joined));
}

}  // namespace port
