// The residual memory of two layers, P(x) = I x + W1 gelu(W2 x), a row and head at a time.
//
// Its gradient has a pair of factors for each matrix (`memory/factors.py`), with the error e = P(k) - v, z = W2 k and
// h = gelu(z), all at the anchor:
//
//     W1: e h^T,      W2: (W1^T e o gelu'(z)) k^T
//     kappa = ||h||^2 + ||k||^2 sum_j gelu'(z_j)^2 ||W1[:, j]||^2 + 1.13 ||k|| ||e||
#pragma once

#include <memory>

#include "gelu.hpp"
#include "mixed.hpp"

namespace kernels {

constexpr double GELU_SLOPE = 1.13;  // bound on the slope of gelu

// Both matrices, transposed: W1 with a row for each hidden unit, W2 with one for each feature.
template <class T>
struct Layers {
    Rows<T> outer, inner;
};

template <class T, class One = Mixed<T>>
class Mlp {
   public:
    explicit Mlp(const Call<T>& call)
        : call_(call),
          s_(call, work_),
          D(s_.D),
          V(s_.V),
          H(static_cast<int>(call.hidden)),
          wide_(std::min(D, V)),
          outer_(s_, H, V, work_),
          inner_(s_, D, H, work_),
          own_anchor_(layers(work_.row(size()))),
          anchor_(own_anchor_),
          upright_outer_(work_.rows(V, H)),
          columns_(work_.row(H)),
          before_(work_.rows(s_.most_slots, H)),
          hidden_(work_.rows(s_.most_slots, H)),
          slope_(work_.rows(s_.most_slots, H)),
          felt_(work_.rows(s_.most_slots, H)),
          left_(work_.rows(s_.most_slots, H)),
          asked_(work_.rows(s_.most, H)),
          asked_hidden_(work_.rows(s_.most, H)),
          asked_slope_(work_.rows(s_.most, H)),
          reads_(work_.rows(s_.most, V)),
          key_square_(work_.row(s_.most_slots)),
          error_square_(work_.row(s_.most_slots)),
          bound_(work_.row(s_.most_slots)) {}

    void forward(int64_t task) {
        const int64_t row = task / call_.heads, head = task % call_.heads;
        take(state(task, 0, 0), call_.weights, task);
        take(state(task, 0, 1), call_.momenta, task);
        take(own_anchor_, call_.anchors, task);
        anchor_ = own_anchor_;
        for (int64_t n = 0; n < call_.segments; ++n) {
            const Layers<T> m = state(task, n, 0), s = state(task, n, 1);
            const Layers<T> m_next = state(task, n + 1, 0), s_next = state(task, n + 1, 1);
            if (call_.resets_at(row, n)) {
                take(m, call_.initial, head);
                std::memset(s.outer[0], 0, size() * sizeof(T));
            }
            if (call_.opens_at(row, n)) open(m);
            begin(task, n);
            errors();
            factors();
            s_.report();
            inner_.read(asked_, s_.queries, s_.keys, left_, {m.inner, s.inner});
            answer();
            read(m, s);
            for (int i = 0; i < s_.tokens; ++i) std::memcpy(call_.reads + s_.gate(i) * V, reads_[i], V * sizeof(T));
            outer_.write(hidden_, s_.errors, {m.outer, s.outer}, {m_next.outer, s_next.outer});
            inner_.write(s_.keys, left_, {m.inner, s.inner}, {m_next.inner, s_next.inner});
        }
        leave(call_.last_weights, state(task, call_.segments, 0), task);
        leave(call_.last_momenta, state(task, call_.segments, 1), task);
        leave(call_.last_anchors, anchor_, task);
    }

   protected:
    const Call<T>& call_;
    Workspace<T> work_;
    Segment<T> s_;
    const int D, V, H, wide_;  // wide_: components that the residual has
    One outer_, inner_;
    const Layers<T> own_anchor_;
    Layers<T> anchor_;  // where the anchor of the segment stands
    Rows<T> upright_outer_;
    T* columns_;  // ||W1[:, j]||^2
    Rows<T> before_, hidden_, slope_, felt_, left_;  // z, gelu(z) and its slope, W1^T e, and what W2 feels
    Rows<T> asked_, asked_hidden_, asked_slope_, reads_;
    T *key_square_, *error_square_, *bound_;  // ||k||^2, ||e||^2 and sum_j gelu'(z_j)^2 ||W1[:, j]||^2 of each slot

    std::size_t size() const {
        return static_cast<std::size_t>(H) * stride<T>(V) + static_cast<std::size_t>(D) * stride<T>(H);
    }

    Layers<T> layers(T* data) const {
        return {{data, stride<T>(V)}, {data + static_cast<std::size_t>(H) * stride<T>(V), stride<T>(H)}};
    }

    // M at a border, or S.
    Layers<T> state(int64_t task, int64_t n, int which) const {
        return layers(call_.state(task, n, 2 * size()) + which * size());
    }

    void take(const Layers<T>& to, const T* const* all, int64_t which) {
        transpose(to.outer[0], to.outer.width, all[0] + which * V * H, H, V, H);
        transpose(to.inner[0], to.inner.width, all[1] + which * H * D, D, H, D);
    }

    void leave(T* const* all, const Layers<T>& from, int64_t task) {
        transpose(all[0] + task * V * H, H, from.outer[0], from.outer.width, H, V);
        transpose(all[1] + task * H * D, D, from.inner[0], from.inner.width, D, H);
    }

    // A state that stays is looked at where it stands.
    void open(const Layers<T>& m) {
        if (call_.kept)
            anchor_ = m;
        else
            std::memcpy(own_anchor_.outer[0], m.outer[0], size() * sizeof(T));
    }

    // The tokens of a segment, where it keeps what the backward pass needs, and z, h and the slope at its anchor.
    void begin(int64_t task, int64_t n) {
        s_.load(task / call_.heads, task % call_.heads, n);
        if (call_.activations != nullptr) {
            const std::size_t of_asked = static_cast<std::size_t>(s_.most) * stride<T>(H);
            const std::size_t all = of_asked + static_cast<std::size_t>(s_.most_slots) * stride<T>(V);
            asked_ = {call_.activations + (task * call_.segments + n) * all, stride<T>(H)};
            s_.errors = {asked_.data + of_asked, stride<T>(V)};
        }
        product(before_, straight(s_.keys), anchor_.inner, s_.slots, H, D);
        for (int j = 0; j < s_.slots; ++j) gelu(before_[j], hidden_[j], slope_[j], H);
    }

    void errors() {
        product(s_.errors, straight(hidden_), anchor_.outer, s_.slots, V, H);
        for (int j = 0; j < s_.slots; ++j) {
            add_scaled(s_.errors[j], T(1), s_.keys[j], wide_);
            add_scaled(s_.errors[j], T(-1), s_.values[j], V);
        }
    }

    // Both factors, kappa, and the coordinates.
    void factors() {
        transpose(upright_outer_[0], upright_outer_.width, anchor_.outer[0], anchor_.outer.width, H, V);
        product(felt_, straight(s_.errors), upright_outer_, s_.slots, H, V);
        for (int j = 0; j < s_.slots; ++j) {
            const T *__restrict felt = felt_[j], *__restrict slope = slope_[j];
            T* __restrict left = left_[j];
#pragma omp simd
            for (int i = 0; i < H; ++i) left[i] = felt[i] * slope[i];
        }
        if (call_.normalised) curvature();
        s_.shares();
        s_.coordinates();
    }

    void curvature() {
        std::memset(columns_, 0, H * sizeof(T));
        for (int o = 0; o < V; ++o) add_product(columns_, upright_outer_[o], upright_outer_[o], H);
        for (int j = 0; j < s_.slots; ++j) {
            const T *__restrict slope = slope_[j], *__restrict column = columns_;
            T sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int i = 0; i < H; ++i) sum += slope[i] * slope[i] * column[i];
            bound_[j] = sum;
            key_square_[j] = dot(s_.keys[j], s_.keys[j], D);
            error_square_[j] = dot(s_.errors[j], s_.errors[j], V);
            s_.kappa[j] = dot(hidden_[j], hidden_[j], H) + key_square_[j] * sum +
                          static_cast<T>(GELU_SLOPE) * std::sqrt(key_square_[j]) * std::sqrt(error_square_[j]);
        }
    }

    // gelu of what is asked, W2 of each token times its query, and its slope.
    void answer() {
        for (int i = 0; i < s_.tokens; ++i) gelu(asked_[i], asked_hidden_[i], asked_slope_[i], H);
    }

    void read(const Layers<T>& m, const Layers<T>& s) {
        outer_.read(reads_, asked_hidden_, hidden_, s_.errors, {m.outer, s.outer});
        for (int i = 0; i < s_.tokens; ++i) add_scaled(reads_[i], T(1), s_.queries[i], wide_);
    }
};

template <class T>
int mlp_forward(const Call<T>& call) {
    auto make = [&] { return std::make_unique<Mlp<T>>(call); };
    return each(call.threads, call.batch * call.heads, make, [](Mlp<T>& m, int64_t task) { m.forward(task); });
}

}  // namespace kernels
