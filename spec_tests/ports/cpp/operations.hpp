// The operations that this program has, by name, and one run of one of them.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "attention.hpp"
#include "call.hpp"
#include "convolution.hpp"
#include "errors.hpp"
#include "m3.hpp"
#include "memory_chunked.hpp"
#include "memory_scan.hpp"
#include "newton_schulz.hpp"
#include "normalize.hpp"
#include "polynomial.hpp"
#include "projection.hpp"
#include "tensor.hpp"

namespace port {

template <typename Real>
using Operation = void (*)(Call<Real>&);

template <typename Real>
const std::map<std::string, Operation<Real>>& operations() {
    static const std::map<std::string, Operation<Real>> table = {
        {"newton_schulz", run_newton_schulz<Real>},
        {"polynomial_features", run_polynomial_features<Real>},
        {"l2_normalize", run_l2_normalize<Real>},
        {"short_conv", run_short_conv<Real>},
        {"qk_projection", run_qk_projection<Real>},
        {"qk_gate", run_qk_gate<Real>},
        {"sliding_window_attention", run_sliding_window_attention<Real>},
        {"m3_mix", run_m3_mix<Real>},
        {"memory_step", run_memory_step<Real>},
        {"memory_scan", run_memory_scan<Real>},
        {"memory_chunked", run_memory_chunked<Real>},
    };
    return table;
}

template <typename Real>
Tensors run_in(const Request& request) {
    const auto operation = operations<Real>().find(request.op);
    if (operation == operations<Real>().end()) {
        throw Unsupported(request.op, "this program has no operation '" + request.op + "'");
    }
    Call<Real> call(request);
    operation->second(call);
    return call.finish();
}

// Run one operation in the precision asked for; bf16_io computes in float32 and rounds activations on their way out.
inline Tensors run(const Request& request) {
    for (const auto& input : request.inputs) {
        if (input.first.rfind("cotangent.", 0) == 0) {
            throw Unsupported("gradients", "this program has no gradients");
        }
    }
    if (request.numerics == "f64") return run_in<double>(request);
    if (request.numerics == "f32" || request.numerics == "bf16_io") return run_in<float>(request);
    throw Unsupported(request.numerics, "this program has no precision '" + request.numerics + "'");
}

}  // namespace port
