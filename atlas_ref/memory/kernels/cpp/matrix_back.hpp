// The adjoint of `matrix.hpp`: from the last segment to the first, everything but M and S at the borders made again.
#pragma once

#include <utility>

#include "matrix.hpp"

namespace kernels {

template <class T>
class MatrixBack : Matrix<T, MixedBack<T>> {
    using Base = Matrix<T, MixedBack<T>>;
    using Base::anchor_, Base::call_, Base::D, Base::mixed_, Base::s_, Base::size, Base::state, Base::V, Base::work_;

   public:
    explicit MatrixBack(const Call<T>& call)
        : Base(call),
          d_reads_(work_.rows(s_.most, V)),
          d_queries_(work_.rows(s_.most, D)),
          d_keys_(work_.rows(s_.most_slots, D)),
          d_errors_(work_.rows(s_.most_slots, V)),
          d_anchor_(work_.rows(D, V)),
          d_after_{work_.rows(D, V), work_.rows(D, V)},
          d_before_{work_.rows(D, V), work_.rows(D, V)} {}

    void backward(int64_t task) {
        const int64_t row = task / call_.heads, head = task % call_.heads;
        this->take(d_after_.m, call_.d_last_weights[0], task);
        this->take(d_after_.s, call_.d_last_momenta[0], task);
        this->take(d_anchor_, call_.d_last_anchors[0], task);
        for (int64_t n = call_.segments - 1; n >= 0; --n) {
            const Held<T> held = state(task, n);
            anchor_of(row, n, task);
            this->load(row, head, n);
            s_.forget();
            for (int i = 0; i < s_.tokens; ++i)
                std::memcpy(d_reads_[i], call_.d_reads + s_.gate(i) * V, V * sizeof(T));
            mixed_.carried_back(held, d_after_, d_before_);
            if (call_.read == AT_ANCHOR)
                read_at_anchor();
            else
                mixed_.read_back(d_reads_, d_queries_, d_keys_, d_errors_, s_.queries, s_.keys, s_.errors, held,
                                 d_before_);
            mixed_.write_back(d_keys_, d_errors_, s_.keys, s_.errors, d_after_);
            errors_back(call_.opens_at(row, n));
            s_.coordinates_back();
            s_.squares_back(d_keys_);
            s_.give_back(d_keys_, d_errors_);
            for (int i = 0; i < s_.tokens; ++i)
                std::memcpy(call_.d_queries + s_.gate(i) * D, d_queries_[i], D * sizeof(T));
            std::swap(d_after_, d_before_);
            if (call_.resets_at(row, n)) begin_back(task);
        }
        this->leave(call_.d_weights[0], d_after_.m, task);
        this->leave(call_.d_momenta[0], d_after_.s, task);
        this->leave(call_.d_anchors[0], d_anchor_, task);
    }

   private:
    Rows<T> d_reads_, d_queries_, d_keys_, d_errors_, d_anchor_;
    Held<T> d_after_, d_before_;  // of M^T and S^T after the segment, and before it

    // The anchor is M where a segment last opened, or what came in.
    void anchor_of(int64_t row, int64_t n, int64_t task) {
        const int64_t from = call_.opened(row, n);
        if (from >= 0)
            std::memcpy(anchor_[0], state(task, from).m[0], size() * sizeof(T));
        else
            this->take(anchor_, call_.anchors[0], task);
    }

    // Sets the gradients of queries, keys and errors, and adds to that of the anchor.
    void read_at_anchor() {
        product(d_queries_, straight(d_reads_), mixed_.upright(anchor_), s_.tokens, D, V);
        product(d_anchor_, turned(s_.queries), d_reads_, D, V, s_.tokens, true);
        std::memset(d_keys_[0], 0, s_.slots * d_keys_.width * sizeof(T));
        std::memset(d_errors_[0], 0, s_.slots * d_errors_.width * sizeof(T));
    }

    // E = K X^T - V: to the keys and the anchor, which is M itself where the segment opens.
    void errors_back(bool opens) {
        product(d_keys_, straight(d_errors_), mixed_.upright(anchor_), s_.slots, D, V, true);
        product(opens ? d_before_.m : d_anchor_, turned(s_.keys), d_errors_, D, V, s_.slots, true);
        if (!opens) return;
        for (int i = 0; i < D; ++i) add_scaled(d_before_.m[i], T(1), d_anchor_[i], V);
        std::memset(d_anchor_[0], 0, size() * sizeof(T));
    }

    // A document that begins here takes the gradient of M to M_0 and lets nothing through.
    void begin_back(int64_t task) {
        const Rows<T> m = mixed_.upright(d_after_.m);
        for (int i = 0; i < V; ++i) add_scaled(call_.d_initial[0] + (task * V + i) * D, T(1), m[i], D);
        std::memset(d_after_.m[0], 0, size() * sizeof(T));
        std::memset(d_after_.s[0], 0, size() * sizeof(T));
    }
};

template <class T>
int backward(const Call<T>& call) {
    auto make = [&] { return std::make_unique<MatrixBack<T>>(call); };
    return each(call.threads, call.batch * call.heads, make, [](MatrixBack<T>& m, int64_t task) { m.backward(task); });
}

}  // namespace kernels
