// Polynomial features: docs/spec/polynomial.md.
#pragma once

#include <cmath>
#include <cstddef>
#include <string>
#include <utility>

#include "call.hpp"
#include "tensor.hpp"

namespace port {

// How often a monomial occurs in (x_1 + .. + x_d)^i: i! / (n_1! n_2! ..), built up one factor at a time.
struct Monomial {
    std::size_t last = 0;         // index of its last variable; variables stand in ascending order
    std::size_t repetitions = 0;  // how often the last variable occurs
    double multiplicity = 1.0;
};

// Features sqrt(a_i) sqrt(multiplicity) x^beta over all monomials of degree i = 1 .. p, so that the inner product is
// sum_i a_i (q.k)^i [FEAT-2]; without the multiplicity for the plain basis [FEAT-4].
template <typename Real>
Vector<Real> monomials(const Vector<Real>& x, const Vector<Real>& coefficients, bool weighted) {
    Vector<Real> features;
    Vector<Real> values = {1};
    std::vector<Monomial> kinds = {{}};
    for (std::size_t degree = 1; degree <= coefficients.size(); ++degree) {
        Vector<Real> next_values;
        std::vector<Monomial> next_kinds;
        for (std::size_t m = 0; m < kinds.size(); ++m) {
            for (std::size_t j = kinds[m].last; j < x.size(); ++j) {
                const std::size_t repetitions = j == kinds[m].last ? kinds[m].repetitions + 1 : 1;
                const double ratio = static_cast<double>(degree) / static_cast<double>(repetitions);
                next_kinds.push_back({j, repetitions, kinds[m].multiplicity * ratio});
                next_values.push_back(values[m] * x[j]);
                const double weight = weighted ? std::sqrt(next_kinds.back().multiplicity) : 1.0;
                features.push_back(std::sqrt(coefficients[degree - 1]) * static_cast<Real>(weight) *
                                   next_values.back());
            }
        }
        values = std::move(next_values);
        kinds = std::move(next_kinds);
    }
    return features;
}

// Features sqrt(a_i) x (x) x (x) .. (i times): the same kernel with repeated entries [FEAT-3].
template <typename Real>
Vector<Real> kronecker(const Vector<Real>& x, const Vector<Real>& coefficients) {
    Vector<Real> features;
    Vector<Real> power = {1};
    for (const Real coefficient : coefficients) {
        Vector<Real> next;
        for (const Real left : power) {
            for (const Real right : x) next.push_back(left * right);
        }
        power = std::move(next);
        for (const Real entry : power) features.push_back(std::sqrt(coefficient) * entry);
    }
    return features;
}

// 1 + sum_i a_i x_j^i for every j [FEAT-5].
template <typename Real>
Vector<Real> elementwise(const Vector<Real>& x, const Vector<Real>& coefficients) {
    Vector<Real> features;
    for (const Real entry : x) {
        Real sum = 1;
        Real power = 1;
        for (const Real coefficient : coefficients) {
            power *= entry;
            sum += coefficient * power;
        }
        features.push_back(sum);
    }
    return features;
}

template <typename Real>
Vector<Real> polynomial_features(const Vector<Real>& x, const Vector<Real>& coefficients, const std::string& basis) {
    if (basis == "elementwise") return elementwise(x, coefficients);
    if (basis == "kronecker") return kronecker(x, coefficients);
    return monomials(x, coefficients, basis == "monomial_weighted");
}

template <typename Real>
void run_polynomial_features(Call<Real>& call) {
    const std::string basis =
        call.choice("basis", {"monomial_weighted", "monomial", "kronecker", "elementwise"});
    const Tensor<Real>& x = call.input("x", "batch dim");
    const Vector<Real>& coefficients = call.input("coefficients", "degree").data;
    const Vector<Real> zero(call.axis("dim"));
    Tensor<Real> features({call.axis("batch"), polynomial_features(zero, coefficients, basis).size()});
    for (std::size_t n = 0; n < call.axis("batch"); ++n) {
        features.set_vector(polynomial_features(x.vector(n), coefficients, basis), n);
    }
    call.activation("features", std::move(features));
}

}  // namespace port
