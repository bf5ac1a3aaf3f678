// Newton-Schulz: docs/spec/newton_schulz.md.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "call.hpp"
#include "linear.hpp"
#include "tensor.hpp"

namespace port {

struct Coefficients {
    double a;
    double b;
    double c;
};

inline const std::vector<std::string>& coefficient_sets() {
    static const std::vector<std::string> names = {"quintic", "cubic", "polar_express"};
    return names;
}

// The coefficients of one step of a set; beyond the end of a set its last step repeats [NS-1].
// What a start divides by: the norm times a factor, and the offset added to it or, clamped, the larger of the two.
struct Start {
    double factor = 1.0;
    bool clamped = false;
};

inline Coefficients coefficients_of(const std::string& set, std::size_t step) {
    if (set == "quintic") return {3.4445, -4.7750, 2.0315};
    if (set == "cubic") return {1.5, -0.5, 0.0};
    // polar_express, arXiv 2505.16932. All but the last are for x / 1.01.
    static constexpr std::array<Coefficients, 8> published = {{
        {8.28721201814563, -23.595886519098837, 17.300387312530933},
        {4.107059111542203, -2.9478499167379106, 0.5448431082926601},
        {3.9486908534822946, -2.908902115962949, 0.5518191394370137},
        {3.3184196573706015, -2.488488024314874, 0.51004894012372},
        {2.300652019954817, -1.6689039845747493, 0.4188073119525673},
        {1.891301407787398, -1.2679958271945868, 0.37680408948524835},
        {1.8750014808534479, -1.2500016453999487, 0.3750001645474248},
        {1.875, -1.25, 0.375},
    }};
    if (step + 1 >= published.size()) return published.back();
    const auto& [a, b, c] = published[step];
    const double safety = 1.01;
    const double cube = safety * safety * safety;
    return {a / safety, b / cube, c / (cube * safety * safety)};
}

// X <- a X + (b A + c A^2) X with A = X X^T, `steps` times from X = G / (||G||_F + offset); the smaller side is left.
template <typename Real>
Matrix<Real> newton_schulz(const Matrix<Real>& g, const std::string& set, std::size_t steps, double offset = 1e-7,
                           Start start = {}) {
    if (g.rows > g.columns) return transpose(newton_schulz(transpose(g), set, steps, offset, start));  // [NS-2]
    Matrix<Real> x = g;
    const Real size = static_cast<Real>(start.factor) * length(g.data), least = static_cast<Real>(offset);
    const Real norm = start.clamped ? std::max(size, least) : size + least;
    for (Real& entry : x.data) entry /= norm;
    for (std::size_t step = 0; step < steps; ++step) {
        const auto [a, b, c] = coefficients_of(set, step);
        const Matrix<Real> gram = multiply(x, transpose(x));
        Matrix<Real> polynomial = multiply(gram, gram);
        for (std::size_t i = 0; i < gram.data.size(); ++i) {
            polynomial.data[i] = static_cast<Real>(b) * gram.data[i] + static_cast<Real>(c) * polynomial.data[i];
        }
        Matrix<Real> next = multiply(polynomial, x);
        add_scaled(next.data, static_cast<Real>(a), x.data);
        x = std::move(next);
    }
    return x;
}

template <typename Real>
void run_newton_schulz(Call<Real>& call) {
    const std::vector<std::string> sets = {"quintic", "cubic", "polar_express", "polar_express_paper"};
    const std::string set = call.choice("coefficients", sets);
    const Start start{set == "polar_express_paper" ? 1.01 : 1.0, call.choice("start", {"add", "clamp"}) == "clamp"};
    const std::size_t steps = call.integer("steps", 0);
    const Tensor<Real>& matrix = call.input("matrix", "batch rows columns");
    Tensor<Real> orthogonal(matrix.shape);
    const std::size_t size = call.axis("rows") * call.axis("columns");
    for (std::size_t n = 0; n < call.axis("batch"); ++n) {
        Matrix<Real> g(call.axis("rows"), call.axis("columns"));
        for (std::size_t i = 0; i < size; ++i) g.data[i] = matrix.data[n * size + i];
        const Matrix<Real> x = newton_schulz(g, set, steps, 1e-7, start);
        for (std::size_t i = 0; i < size; ++i) orthogonal.data[n * size + i] = x.data[i];
    }
    call.state("orthogonal", std::move(orthogonal));
}

}  // namespace port
