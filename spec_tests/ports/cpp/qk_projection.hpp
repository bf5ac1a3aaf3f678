// Q-K projection and its gate: docs/spec/qk_projection.md.
#pragma once

#include <cmath>
#include <cstddef>
#include <utility>

#include "call.hpp"
#include "linear.hpp"
#include "tensor.hpp"

namespace port {

// Pi += k k^T / ||k||^2. The direction is taken first: ||k||^2 itself may overflow or vanish [QK-7].
template <typename Real>
void add_direction(Matrix<Real>& pi, Vector<Real> key) {
    const Real norm = length(key);
    if (norm == 0) return;
    for (Real& entry : key) entry /= norm;
    for (std::size_t i = 0; i < key.size(); ++i) {
        for (std::size_t j = 0; j < key.size(); ++j) pi(i, j) += key[i] * key[j];
    }
}

template <typename Real>
void run_qk_projection(Call<Real>& call) {
    const Tensor<Real>& queries = call.input("queries", "batch time heads dim");
    const Tensor<Real>& keys = call.input("keys", "batch time heads dim");
    const Tensor<Real>& carry = call.input("carry", "batch heads dim dim");
    const Indices& position = call.indices("position", "batch time");
    const std::size_t dim = call.axis("dim");

    Tensor<Real> projected(queries.shape);
    Tensor<Real> frobenius({call.axis("batch"), call.axis("time"), call.axis("heads")});
    Tensor<Real> new_carry(carry.shape);
    for (std::size_t row = 0; row < call.axis("batch"); ++row) {
        for (std::size_t head = 0; head < call.axis("heads"); ++head) {
            Matrix<Real> pi(dim, dim);
            for (std::size_t i = 0; i < dim; ++i) {
                for (std::size_t j = 0; j < dim; ++j) pi(i, j) = carry(row, head, i, j);
            }
            for (std::size_t t = 0; t < call.axis("time"); ++t) {
                if (position(row, t) == 0) pi = Matrix<Real>(dim, dim);  // A new document [QK-3].
                add_direction(pi, keys.vector(row, t, head));
                projected.set_vector(multiply(pi, queries.vector(row, t, head)), row, t, head);
                frobenius(row, t, head) = length(pi.data);
            }
            for (std::size_t i = 0; i < dim; ++i) {
                for (std::size_t j = 0; j < dim; ++j) new_carry(row, head, i, j) = pi(i, j);
            }
        }
    }
    call.activation("projected", std::move(projected));
    call.state("frobenius", std::move(frobenius));
    call.state("carry", std::move(new_carry));
}

// tanh(exp(log_gain) projected / (frobenius + 1e-7)) scale, entry by entry [QK-10].
template <typename Real>
void run_qk_gate(Call<Real>& call) {
    const Tensor<Real>& projected = call.input("projected", "batch time heads dim");
    const Tensor<Real>& frobenius = call.input("frobenius", "batch time heads");
    const Tensor<Real>& log_gain = call.input("log_gain", "heads dim");
    const Tensor<Real>& scale = call.input("scale", "heads dim");
    Tensor<Real> gated(projected.shape);
    for (std::size_t row = 0; row < call.axis("batch"); ++row) {
        for (std::size_t t = 0; t < call.axis("time"); ++t) {
            for (std::size_t head = 0; head < call.axis("heads"); ++head) {
                for (std::size_t i = 0; i < call.axis("dim"); ++i) {
                    const Real norm = frobenius(row, t, head) + static_cast<Real>(1e-7);
                    const Real aligned = projected(row, t, head, i) / norm;
                    gated(row, t, head, i) = std::tanh(std::exp(log_gain(head, i)) * aligned) * scale(head, i);
                }
            }
        }
    }
    call.activation("gated", std::move(gated));
}

}  // namespace port
