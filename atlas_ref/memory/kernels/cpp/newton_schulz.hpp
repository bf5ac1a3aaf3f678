// Newton-Schulz of one matrix that stays in the cache for all its steps, forward and back.
//
//     X_0 = S / (||S||_F + offset),      X <- a X + (b A + c A^2) X with A = X X^T
//
// for no more rows than columns; a matrix with more is turned before and after (`functional/newton_schulz.py`).
#pragma once

#include <cmath>

#include "product.hpp"

namespace kernels {

// What one step came from: X, A and b A + c A^2.
template <class T>
struct Step {
    Rows<T> x, gram, polynomial;
};

template <class T>
class NewtonSchulz {
   public:
    NewtonSchulz(int rows, int columns, int64_t steps, const double* coefficients, double offset, Workspace<T>& work)
        : R(std::min(rows, columns)),
          C(std::max(rows, columns)),
          tall_(rows > columns),
          steps_(static_cast<int>(steps)),
          coefficients_(coefficients),
          offset_(offset),
          turned_(work.rows(C, R)),
          d_polynomial_(work.rows(R, R)),
          mirrored_(work.rows(R, R)),
          through_(work.rows(R, R)),
          d_x_(work.rows(R, C)),
          lying_{work.rows(tall_ ? R : 0, C), work.rows(tall_ ? R : 0, C)} {}

    // The steps of one matrix, to be kept for the way back.
    std::vector<Step<T>> trace(Workspace<T>& work) const {
        std::vector<Step<T>> made;
        for (int k = 0; k < steps_; ++k) made.push_back({work.rows(R, C), work.rows(R, R), work.rows(R, R)});
        return made;
    }

    void forward(const Rows<T>& s, const std::vector<Step<T>>& trace, const Rows<T>& out) {
        if (!tall_) return iterate(s, trace, out);
        lay(s, lying_[0]);
        iterate(lying_[0], trace, lying_[1]);
        transpose(out[0], out.width, lying_[1][0], lying_[1].width, R, C);
    }

    // d enters as the gradient of the result and leaves as that of S.
    void backward(const Rows<T>& s, const std::vector<Step<T>>& trace, const Rows<T>& d) {
        if (!tall_) return iterate_back(s, trace, d);
        lay(s, lying_[0]), lay(d, lying_[1]);
        iterate_back(lying_[0], trace, lying_[1]);
        transpose(d[0], d.width, lying_[1][0], lying_[1].width, R, C);
    }

   private:
    const int R, C;
    const bool tall_;
    const int steps_;
    const double* coefficients_;
    const double offset_;
    Rows<T> turned_, d_polynomial_, mirrored_, through_, d_x_;
    Rows<T> lying_[2];  // S and the result, or its gradient, of a tall matrix

    void lay(const Rows<T>& tall, const Rows<T>& lying) {
        transpose(lying[0], lying.width, tall[0], tall.width, C, R);
    }

    void iterate(const Rows<T>& s, const std::vector<Step<T>>& trace, const Rows<T>& out) {
        const T factor = static_cast<T>(1.0 / (norm(s) + offset_));
        for (int i = 0; i < R; ++i) scale_to((steps_ ? trace[0].x : out)[i], factor, s[i], C);
        for (int k = 0; k < steps_; ++k) {
            const auto& [x, gram, polynomial] = trace[k];
            const T a = static_cast<T>(coefficients_[3 * k]), b = static_cast<T>(coefficients_[3 * k + 1]),
                    c = static_cast<T>(coefficients_[3 * k + 2]);
            transpose(turned_[0], turned_.width, x[0], x.width, R, C);
            product(gram, straight(x), turned_, R, R, C);
            product(polynomial, straight(gram), gram, R, R, R);
            for (int i = 0; i < R; ++i) mix(polynomial[i], c, b, gram[i], R);
            const Rows<T>& next = k + 1 < steps_ ? trace[k + 1].x : out;
            for (int i = 0; i < R; ++i) scale_to(next[i], a, x[i], C);
            product(next, straight(polynomial), x, R, C, R, true);
        }
    }

    void iterate_back(const Rows<T>& s, const std::vector<Step<T>>& trace, const Rows<T>& d) {
        for (int k = steps_ - 1; k >= 0; --k) step_back(k, trace[k], d);
        const double length = norm(s), divisor = length + offset_;
        double along = 0;
        for (int i = 0; i < R; ++i) along += static_cast<double>(dot(s[i], d[i], C));
        const T factor = static_cast<T>(1.0 / divisor);
        const T back = length > 0 ? static_cast<T>(-along / (divisor * divisor * length)) : T(0);
        for (int i = 0; i < R; ++i) mix(d[i], factor, back, s[i], C);
    }

    // y = p y + q x.
    static void mix(T* __restrict y, T p, T q, const T* __restrict x, int n) {
#pragma omp simd
        for (int i = 0; i < n; ++i) y[i] = p * y[i] + q * x[i];
    }

    // ||S||_F without squaring what is above one.
    double norm(const Rows<T>& s) const {
        double largest = 1, sum = 0;
        for (int i = 0; i < R; ++i)
            for (int j = 0; j < C; ++j) largest = std::max(largest, std::abs(static_cast<double>(s[i][j])));
        for (int i = 0; i < R; ++i) {
            const T* __restrict row = s[i];
#pragma omp simd reduction(+ : sum)
            for (int j = 0; j < C; ++j) sum += (row[j] / largest) * (row[j] / largest);
        }
        return largest * std::sqrt(sum);
    }

    void step_back(int k, const Step<T>& step, const Rows<T>& d) {
        const T a = static_cast<T>(coefficients_[3 * k]), b = static_cast<T>(coefficients_[3 * k + 1]),
                c = static_cast<T>(coefficients_[3 * k + 2]);
        // Of the polynomial: d X^T, and of it the part that a symmetric matrix feels.
        transpose(turned_[0], turned_.width, step.x[0], step.x.width, R, C);
        product(d_polynomial_, straight(d), turned_, R, R, C);
        transpose(mirrored_[0], mirrored_.width, d_polynomial_[0], d_polynomial_.width, R, R);
        for (int i = 0; i < R; ++i) mix(d_polynomial_[i], T(0.5), T(0.5), mirrored_[i], R);
        // Of A, twice for X X^T: 2 (b d + c (A d + d A)).
        product(through_, straight(step.gram), d_polynomial_, R, R, R);
        transpose(mirrored_[0], mirrored_.width, through_[0], through_.width, R, R);
        for (int i = 0; i < R; ++i) {
            add_scaled(through_[i], T(1), mirrored_[i], R);
            mix(d_polynomial_[i], 2 * b, 2 * c, through_[i], R);
        }
        for (int i = 0; i < R; ++i) scale_to(d_x_[i], a, d[i], C);
        product(d_x_, straight(step.polynomial), d, R, C, R, true);
        product(d_x_, straight(d_polynomial_), step.x, R, C, R, true);
        for (int i = 0; i < R; ++i) std::memcpy(d[i], d_x_[i], C * sizeof(T));
    }
};

}  // namespace kernels
