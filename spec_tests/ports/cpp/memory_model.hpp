// The function that a memory is, and the gradient of one pair: docs/spec/memory_scan.md [MEM-3], memory_step.md [RULE-6], memory_mass.md [RULE-10].
//
// The matrices of a memory stand in one vector: W, or W1 then W2, row by row. Recurrences work on that vector; only
// what stands here and Newton-Schulz look at the matrices in it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "errors.hpp"
#include "linear.hpp"
#include "memory_rule.hpp"
#include "newton_schulz.hpp"
#include "tensor.hpp"

namespace port {

// gelu(z) = z Phi(z). erfc keeps its digits where Phi is small.
template <typename Real>
Real normal_cdf(Real z) {
    return std::erfc(-z / std::sqrt(static_cast<Real>(2))) / 2;
}

template <typename Real>
Real gelu(Real z) {
    return z * normal_cdf(z);
}

template <typename Real>
Real gelu_slope(Real z) {
    const Real root_two_pi = static_cast<Real>(2.50662827463100050242);
    return normal_cdf(z) + z * std::exp(-z * z / 2) / root_two_pi;
}

template <typename Real>
Vector<Real> gelu(const Vector<Real>& z) {
    Vector<Real> result;
    for (const Real entry : z) result.push_back(gelu(entry));
    return result;
}

template <typename Real>
class Model {
public:
    using V = Vector<Real>;
    using M = Matrix<Real>;

    Model(const Rule& rule, std::size_t values, std::size_t features, std::size_t parameters)
        : rule_(rule), values_(values), features_(features) {
        const std::size_t unit = rule.mlp ? values + features : values * features;
        if (unit == 0 || parameters % unit != 0 || (!rule.mlp && parameters != unit)) {
            throw Error("the number of parameters does not fit the features and values of the memory");
        }
        hidden_ = rule.mlp ? parameters / unit : 0;
    }

    // M(x): W x, or I x + W1 gelu(W2 x).
    V predict(const V& parameters, const V& x) const {
        const std::vector<M> matrices = unpack(parameters);
        if (!rule_.mlp) return multiply(matrices[0], x);
        V result = multiply(matrices[0], gelu(multiply(matrices[1], x)));
        for (std::size_t i = 0; i < std::min(values_, features_); ++i) result[i] += x[i];
        return result;
    }

    // The gradient of loss_scale ||M(k) - v||^2; with `mass` divided by max(1, kappa).
    V gradient(const V& parameters, const V& key, const V& value) const {
        const std::vector<M> matrices = unpack(parameters);
        V error = predict(parameters, key);
        add_scaled(error, static_cast<Real>(-1), value);
        Real scale = static_cast<Real>(2 * rule_.loss_scale);
        if (rule_.mass) scale /= std::max(static_cast<Real>(1), curvature(matrices, key, error));
        V result;
        if (!rule_.mlp) {
            append_outer(result, scale, error, key);
            return result;
        }
        const V z = multiply(matrices[1], key);
        V back = multiply(transpose(matrices[0]), error);
        for (std::size_t j = 0; j < hidden_; ++j) back[j] *= gelu_slope(z[j]);
        append_outer(result, scale, error, gelu(z));
        append_outer(result, scale, back, key);
        return result;
    }

    // U(S): Newton-Schulz on each matrix by itself [RULE-11], or S.
    V update(const V& momentum) const {
        if (!rule_.orthogonalise) return momentum;
        V result;
        for (const M& matrix : unpack(momentum)) {
            const M part = newton_schulz(matrix, rule_.coefficients, rule_.steps, rule_.offset);
            result.insert(result.end(), part.data.begin(), part.data.end());
        }
        return result;
    }

private:
    // kappa at the same parameters; `error` is M(k) - v.
    Real curvature(const std::vector<M>& matrices, const V& key, const V& error) const {
        const Real square = dot(key, key);
        if (!rule_.mlp) return square;
        const V z = multiply(matrices[1], key);
        const V columns = transpose(matrices[0]).data;
        Real slopes = 0;
        for (std::size_t j = 0; j < hidden_; ++j) {
            for (std::size_t i = 0; i < values_; ++i) {
                const Real entry = gelu_slope(z[j]) * columns[j * values_ + i];
                slopes += entry * entry;
            }
        }
        return dot(gelu(z), gelu(z)) + square * slopes + static_cast<Real>(1.13) * length(key) * length(error);
    }

    static void append_outer(V& result, Real scale, const V& left, const V& right) {
        for (const Real a : left) {
            for (const Real b : right) result.push_back(scale * a * b);
        }
    }

    std::vector<M> unpack(const V& parameters) const {
        std::vector<M> matrices;
        if (rule_.mlp) {
            matrices = {M(values_, hidden_), M(hidden_, features_)};
        } else {
            matrices = {M(values_, features_)};
        }
        auto next = parameters.begin();
        for (M& matrix : matrices) {
            for (Real& entry : matrix.data) entry = *next++;
        }
        return matrices;
    }

    const Rule& rule_;
    std::size_t values_;
    std::size_t features_;
    std::size_t hidden_;
};

}  // namespace port
