// Metrics of circularity: docs/spec/metrics.md. Measurements, so they compute in double whatever the embedding is.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

#include "call.hpp"
#include "errors.hpp"
#include "linear.hpp"
#include "tensor.hpp"

namespace port {

constexpr double two_pi = 6.283185307179586476925;

using Complex = std::complex<double>;

// The embedding with every column shifted to begin at zero and then to have mean zero: constant columns become exactly 0.
template <typename Real>
Matrix<double> centred(const Tensor<Real>& embedding) {
    Matrix<double> result(embedding.shape[0], embedding.shape[1]);
    for (std::size_t j = 0; j < result.columns; ++j) {
        double sum = 0;
        for (std::size_t n = 0; n < result.rows; ++n) {
            result(n, j) = static_cast<double>(embedding(n, j)) - static_cast<double>(embedding(0u, j));
            sum += result(n, j);
        }
        for (std::size_t n = 0; n < result.rows; ++n) result(n, j) -= sum / static_cast<double>(result.rows);
    }
    return result;
}

// exp(-2 pi i k n / p) for natural k and n.
inline Complex root_of_unity(std::size_t k, std::size_t n, std::size_t p) {
    return std::polar(1.0, -two_pi * static_cast<double>(k * n % p) / static_cast<double>(p));
}

template <typename Real>
void run_fourier_concentration(Call<Real>& call) {
    const std::size_t top = call.integer("top", 1);
    const Matrix<double> x = centred(call.input("embedding", "numbers dim"));
    const std::size_t p = x.rows;
    std::vector<double> energies;  // of the frequencies 1 .. p/2, each with its mirror image p - k
    double total = 0;
    for (std::size_t k = 1; 2 * k <= p; ++k) {
        double energy = 0;
        for (std::size_t j = 0; j < x.columns; ++j) {
            Complex sum = 0;
            for (std::size_t n = 0; n < p; ++n) sum += x(n, j) * root_of_unity(k, n, p);
            energy += std::norm(sum) * (2 * k == p ? 1 : 2);
        }
        energies.push_back(energy);
        total += energy;
    }
    std::sort(energies.begin(), energies.end(), std::greater<>());
    double strongest = 0;
    for (std::size_t i = 0; i < std::min(top, energies.size()); ++i) strongest += energies[i];
    Tensor<Real> concentration(Shape{});
    concentration() = static_cast<Real>(total == 0 ? 0 : strongest / total);
    call.state("concentration", std::move(concentration));
}

// Make entry (i, j) of a symmetric matrix zero by a rotation of the plane (i, j); `basis` rotates along.
inline void rotate(Matrix<double>& a, Matrix<double>& basis, std::size_t i, std::size_t j) {
    if (a(i, j) == 0) return;
    const double angle = 0.5 * std::atan2(2 * a(i, j), a(j, j) - a(i, i));
    const double c = std::cos(angle);
    const double s = std::sin(angle);
    const auto turn = [c, s](double& x, double& y) {
        const double old = x;
        x = c * x - s * y;
        y = s * old + c * y;
    };
    for (std::size_t k = 0; k < a.rows; ++k) turn(a(k, i), a(k, j));
    for (std::size_t k = 0; k < a.rows; ++k) turn(a(i, k), a(j, k));
    for (std::size_t k = 0; k < a.rows; ++k) turn(basis(k, i), basis(k, j));
}

// The rows of x in the plane of its two leading principal components (Jacobi's method on x^T x).
inline std::vector<Complex> leading_plane(const Matrix<double>& x) {
    constexpr int sweeps = 60;
    Matrix<double> a = multiply(transpose(x), x);
    Matrix<double> basis(a.rows, a.rows);
    for (std::size_t i = 0; i < a.rows; ++i) basis(i, i) = 1;
    for (int sweep = 0; sweep < sweeps; ++sweep) {
        for (std::size_t i = 0; i < a.rows; ++i) {
            for (std::size_t j = i + 1; j < a.rows; ++j) rotate(a, basis, i, j);
        }
    }
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < a.rows; ++i) order.push_back(i);
    std::sort(order.begin(), order.end(), [&a](std::size_t i, std::size_t j) { return a(i, i) > a(j, j); });
    const Matrix<double> components = multiply(x, basis);
    std::vector<Complex> plane;
    for (std::size_t n = 0; n < x.rows; ++n) plane.emplace_back(components(n, order[0]), components(n, order[1]));
    return plane;
}

struct Circle {
    Complex centre;
    double radius;
};

// The circle that minimises sum (|z|^2 - 2 Re(conj(c) z) - (r^2 - |c|^2))^2. The points have mean zero and their
// coordinates no covariance, so the normal equations of the centre are two of one unknown each.
inline Circle least_squares_circle(const std::vector<Complex>& points) {
    double xx = 0, yy = 0, squares = 0;
    Complex moment = 0;
    for (const Complex& z : points) {
        xx += z.real() * z.real();
        yy += z.imag() * z.imag();
        squares += std::norm(z);
        moment += std::norm(z) * z;
    }
    const Complex centre(moment.real() / (2 * xx), moment.imag() / (2 * yy));
    return {centre, std::sqrt(squares / static_cast<double>(points.size()) + std::norm(centre))};
}

// The largest |mean_n exp(i (theta_n - 2 pi k n / p))| over k = 1 .. p-1, for unit vectors exp(i theta_n) [GROK-5].
inline double order_of(const std::vector<Complex>& directions) {
    const std::size_t p = directions.size();
    double largest = 0;
    for (std::size_t k = 1; k < p; ++k) {
        Complex sum = 0;
        for (std::size_t n = 0; n < p; ++n) sum += directions[n] * root_of_unity(k, n, p);
        largest = std::max(largest, std::abs(sum) / static_cast<double>(p));
    }
    return largest;
}

template <typename Real>
void run_circular_fit(Call<Real>& call) {
    const Matrix<double> x = centred(call.input("embedding", "numbers dim"));
    const Indices& permutations = call.indices("permutations", "permutations numbers");
    if (x.columns < 2) throw Error("circular_fit: an embedding of fewer than two dimensions has no plane");
    const std::vector<Complex> plane = leading_plane(x);
    const Circle circle = least_squares_circle(plane);
    std::vector<Complex> directions;
    double squares = 0;
    for (const Complex& z : plane) {
        const double distance = std::abs(z - circle.centre);
        directions.push_back((z - circle.centre) / distance);
        squares += (distance - circle.radius) * (distance - circle.radius);
    }
    const double rms = std::sqrt(squares / static_cast<double>(plane.size()));

    Tensor<Real> null(Shape{call.axis("permutations")});
    for (std::size_t i = 0; i < call.axis("permutations"); ++i) {
        std::vector<Complex> shuffled;
        for (const std::int64_t number : permutations.vector(i)) {
            if (static_cast<std::size_t>(number) >= directions.size()) throw Error("circular_fit: not a permutation");
            shuffled.push_back(directions[static_cast<std::size_t>(number)]);
        }
        null(i) = static_cast<Real>(order_of(shuffled));
    }
    Tensor<Real> fit(Shape{}), order(Shape{});
    const double roundness = 1 - rms / circle.radius;
    fit() = static_cast<Real>(roundness < 0 ? 0 : roundness);
    order() = static_cast<Real>(order_of(directions));
    call.state("fit", std::move(fit));
    call.state("order", std::move(order));
    call.state("null", std::move(null));
}

}  // namespace port
