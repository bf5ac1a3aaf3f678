// The recurrence, token by token: docs/spec/memory_scan.md, memory_window.md and memory_step.md.
//
//   reset, if the token begins a document; xi <- M, if its position is a multiple of b; write; read     [MEM-1]
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "call.hpp"
#include "linear.hpp"
#include "memory_call.hpp"
#include "memory_model.hpp"
#include "memory_rule.hpp"
#include "tensor.hpp"

namespace port {

// g = sum over ages a of gamma[a] grad(xi; k_{t-a}, v_{t-a}). The window ends with the token's own pair.
template <typename Real>
Vector<Real> window_gradient(const Model<Real>& model, const Rule& rule, const Token<Real>& token,
                             const Cell<Real>& cell) {
    const std::size_t reach = rule.truncate ? cell.position % rule.chunk : cell.position;  // [WIN-2, WIN-4]
    const std::size_t oldest = std::min(reach, token.window.size() - 1);
    const Real factor = factors(rule, token).gradient;
    Vector<Real> sum(cell.anchor.size());
    for (std::size_t age = 0; age <= oldest; ++age) {
        const Pair<Real>& pair = cell.window[cell.window.size() - 1 - age];
        add_scaled(sum, factor * token.window[age], model.gradient(cell.anchor, pair.key, pair.value));
    }
    return sum;
}

// x <- decay x + factor y
template <typename Real>
void advance(Vector<Real>& x, Real decay, Real factor, const Vector<Real>& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = decay * x[i] + factor * y[i];
}

template <typename Real>
Trace<Real> scan(const Model<Real>& model, const Rule& rule, const std::vector<Token<Real>>& tokens,
                 const Vector<Real>& initial, Cell<Real>& cell) {
    Trace<Real> trace;
    for (const Token<Real>& token : tokens) {
        if (token.reset || cell.position == 0) cell.begin(initial);
        if (cell.position % rule.chunk == 0) cell.anchor = cell.weights;
        if (rule.read_before) trace.reads.push_back(model.predict(cell.weights, token.query));

        cell.window.push_back(token.pair);
        const Factors<Real> factor = factors(rule, token);
        trace.gradient.push_back(window_gradient(model, rule, token, cell));
        advance(cell.momentum, factor.decay, factor.intake, trace.gradient.back());
        advance(cell.weights, token.retention, factor.release, model.update(cell.momentum));
        if (cell.window.size() == token.window.size()) cell.window.pop_front();
        ++cell.position;

        if (!rule.read_before) trace.reads.push_back(model.predict(cell.weights, token.query));
        trace.momentum.push_back(cell.momentum);
        trace.weights.push_back(cell.weights);
    }
    return trace;
}

template <typename Real>
void run_memory_scan(Call<Real>& call) {
    MemoryCall<Real>(call, true).run(scan<Real>, {"gradient", "momentum_trace", "weights_trace"});
}

}  // namespace port
