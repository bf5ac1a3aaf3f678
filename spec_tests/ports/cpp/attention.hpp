// Sliding-window attention with persistent tokens: docs/spec/attention.md.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "call.hpp"
#include "linear.hpp"
#include "tensor.hpp"

namespace port {

// sum_i softmax(q.k_i / sqrt(dim))_i v_i [ATT-1]; the largest score is subtracted so that no exponential overflows.
template <typename Real>
Vector<Real> attend(const Vector<Real>& query, const std::vector<Vector<Real>>& keys,
                    const std::vector<Vector<Real>>& values) {
    Vector<Real> scores;
    for (const Vector<Real>& key : keys) {
        scores.push_back(dot(query, key) / std::sqrt(static_cast<Real>(query.size())));
    }
    const Real largest = *std::max_element(scores.begin(), scores.end());
    Vector<Real> result(query.size());
    Real total = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
        const Real weight = std::exp(scores[i] - largest);
        add_scaled(result, weight, values[i]);
        total += weight;
    }
    for (Real& entry : result) entry /= total;
    return result;
}

template <typename Real>
void run_sliding_window_attention(Call<Real>& call) {
    const std::size_t past = call.integer("window", 1) - 1;
    call.fix_length("window", past + 1);
    const Tensor<Real>& queries = call.input("queries", "batch time heads dim");
    const Tensor<Real>& keys = call.input("keys", "batch time heads dim");
    const Tensor<Real>& values = call.input("values", "batch time heads dim");
    const Tensor<Real>& persistent_keys = call.input("persistent_keys", "tokens heads dim");
    const Tensor<Real>& persistent_values = call.input("persistent_values", "tokens heads dim");
    const Tensor<Real>& cache_keys = call.input("cache_keys", "batch window-1 heads dim");
    const Tensor<Real>& cache_values = call.input("cache_values", "batch window-1 heads dim");
    const Indices& position = call.indices("position", "batch time");
    const std::size_t time = call.axis("time");

    Tensor<Real> output(queries.shape);
    Tensor<Real> new_keys(cache_keys.shape);
    Tensor<Real> new_values(cache_values.shape);
    for (std::size_t row = 0; row < call.axis("batch"); ++row) {
        for (std::size_t head = 0; head < call.axis("heads"); ++head) {
            // The cache and the tokens in one line: token t stands at `past + t`.
            const auto key = [&](std::size_t i) {
                return i < past ? cache_keys.vector(row, i, head) : keys.vector(row, i - past, head);
            };
            const auto value = [&](std::size_t i) {
                return i < past ? cache_values.vector(row, i, head) : values.vector(row, i - past, head);
            };
            for (std::size_t t = 0; t < time; ++t) {
                std::vector<Vector<Real>> seen_keys, seen_values;
                for (std::size_t i = 0; i < call.axis("tokens"); ++i) {
                    seen_keys.push_back(persistent_keys.vector(i, head));
                    seen_values.push_back(persistent_values.vector(i, head));
                }
                const std::size_t oldest = std::min(past, static_cast<std::size_t>(position(row, t)));  // [ATT-3]
                for (std::size_t age = 0; age <= oldest; ++age) {
                    seen_keys.push_back(key(past + t - age));
                    seen_values.push_back(value(past + t - age));
                }
                output.set_vector(attend(queries.vector(row, t, head), seen_keys, seen_values), row, t, head);
            }
            for (std::size_t i = 0; i < past; ++i) {
                new_keys.set_vector(key(time + i), row, i, head);
                new_values.set_vector(value(time + i), row, i, head);
            }
        }
    }
    call.activation("output", std::move(output));
    call.state("cache_keys", std::move(new_keys));
    call.state("cache_values", std::move(new_values));
}

}  // namespace port
