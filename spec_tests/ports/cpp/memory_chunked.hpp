// The parallel form: docs/spec/memory_chunked.md.
//
// All gradients of a chunk are taken at one xi, so nothing in it waits for anything: each pair is evaluated once, and
// every S_i and M_t follows from the state before the chunk by a sum [CHUNK-3]. Written as loops here, it is what a
// kernel would do with one matrix product.
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

// x_i = (prod_{l <= i} decay_l) x + sum_{j <= i} (prod_{j < l <= i} decay_l) factor_j y_j, for every i by itself.
template <typename Real>
std::vector<Vector<Real>> unrolled(const Vector<Real>& x, const Vector<Real>& decay, const Vector<Real>& factor,
                                   const std::vector<Vector<Real>>& y) {
    std::vector<Vector<Real>> results;
    for (std::size_t i = 0; i < y.size(); ++i) {
        Vector<Real> sum(x.size());
        Real product = 1;
        for (std::size_t j = i + 1; j-- > 0;) {
            add_scaled(sum, product * factor[j], y[j]);
            product *= decay[j];
        }
        add_scaled(sum, product, x);
        results.push_back(sum);
    }
    return results;
}

// The windowed gradients of consecutive tokens of one chunk, all at its xi. `pairs` ends with the tokens' own.
template <typename Real>
std::vector<Vector<Real>> window_gradients(const Model<Real>& model, const Rule& rule,
                                           const std::vector<Token<Real>>& tokens, const Cell<Real>& cell,
                                           const std::vector<Pair<Real>>& pairs) {
    std::vector<Vector<Real>> each;
    for (const Pair<Real>& pair : pairs) each.push_back(model.gradient(cell.anchor, pair.key, pair.value));
    std::vector<Vector<Real>> sums;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        const std::size_t position = cell.position + i;
        const std::size_t reach = rule.truncate ? position % rule.chunk : position;
        const std::size_t oldest = std::min(reach, tokens[i].window.size() - 1);
        const std::size_t own = pairs.size() - tokens.size() + i;
        Vector<Real> sum(cell.anchor.size());
        for (std::size_t age = 0; age <= oldest; ++age) {
            add_scaled(sum, factors(rule, tokens[i]).gradient * tokens[i].window[age], each[own - age]);
        }
        sums.push_back(sum);
    }
    return sums;
}

// Consecutive tokens of one document in one chunk; returns their reads and leaves the cell behind the last.
template <typename Real>
std::vector<Vector<Real>> run_chunk(const Model<Real>& model, const Rule& rule, const std::vector<Token<Real>>& tokens,
                                    Cell<Real>& cell) {
    std::vector<Pair<Real>> pairs(cell.window.begin(), cell.window.end());
    Vector<Real> theta, intake, alpha, release;
    for (const Token<Real>& token : tokens) {
        const Factors<Real> factor = factors(rule, token);
        theta.push_back(factor.decay);
        intake.push_back(factor.intake);
        alpha.push_back(token.retention);
        release.push_back(factor.release);
        pairs.push_back(token.pair);
    }
    const auto gradients = window_gradients(model, rule, tokens, cell, pairs);
    const auto momenta = unrolled(cell.momentum, theta, intake, gradients);
    std::vector<Vector<Real>> updates;
    for (const Vector<Real>& momentum : momenta) updates.push_back(model.update(momentum));
    const auto weights = unrolled(cell.weights, alpha, release, updates);

    std::vector<Vector<Real>> reads;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        const Vector<Real>& before = i == 0 ? cell.weights : weights[i - 1];
        reads.push_back(model.predict(rule.read_before ? before : weights[i], tokens[i].query));
    }
    const std::size_t kept = std::min(pairs.size(), tokens.front().window.size() - 1);
    cell.window.assign(pairs.end() - static_cast<std::ptrdiff_t>(kept), pairs.end());
    cell.momentum = momenta.back();
    cell.weights = weights.back();
    cell.position += tokens.size();
    return reads;
}

// Chunks are counted from the first token of the document [CHUNK-2]; a call may begin and end inside one.
template <typename Real>
Trace<Real> chunked(const Model<Real>& model, const Rule& rule, const std::vector<Token<Real>>& tokens,
                    const Vector<Real>& initial, Cell<Real>& cell) {
    Trace<Real> trace;
    for (std::size_t first = 0; first < tokens.size();) {
        if (tokens[first].reset || cell.position == 0) cell.begin(initial);
        const std::size_t phase = cell.position % rule.chunk;
        if (phase == 0) cell.anchor = cell.weights;
        std::size_t end = first + 1;
        while (end < tokens.size() && end - first < rule.chunk - phase && !tokens[end].reset) ++end;
        const std::vector<Token<Real>> part(tokens.begin() + static_cast<std::ptrdiff_t>(first),
                                            tokens.begin() + static_cast<std::ptrdiff_t>(end));
        for (Vector<Real>& read : run_chunk(model, rule, part, cell)) trace.reads.push_back(std::move(read));
        first = end;
    }
    return trace;
}

template <typename Real>
void run_memory_chunked(Call<Real>& call) {
    MemoryCall<Real>(call, true).run(chunked<Real>, {});
}

}  // namespace port
