// The memory that is one matrix, a row and head at a time: segment after segment, so that what one needs stays in the
// cache. M^T and S^T of a head have a row for each feature.
#pragma once

#include <memory>
#include <utility>

#include "segment.hpp"

namespace kernels {

// Where a row and head of [batch, heads, values, features] begins.
template <class T, class Number>
Number* matrix_of(const Call<T>& call, Number* all, int64_t task) {
    return all + task * call.values * call.features;
}

template <class T>
class Matrix {
   public:
    explicit Matrix(const Call<T>& call)
        : call_(call),
          s_(call, work_),
          D(s_.D),
          V(s_.V),
          anchor_(work_.rows(D, V)),
          keys_turned_(work_.rows(D, s_.most_slots)),
          similar_(work_.rows(s_.most, s_.most_slots)),
          reads_(work_.rows(s_.most, V)),
          scaled_errors_(work_.rows(s_.most_slots, V)),
          scaled_queries_(work_.rows(s_.most, D)) {}

    // Every segment of one row and head; M^T and S^T at their borders stay in `states`.
    void forward(int64_t task) {
        const int64_t row = task / call_.heads, head = task % call_.heads;
        enter(state(task, 0), call_.weights, call_.momenta, task);
        transpose(anchor_.data, anchor_.width, matrix_of(call_, call_.anchors, task), D, V, D);
        for (int64_t n = 0; n < call_.segments; ++n) {
            const Rows<T> m = state(task, n), s = second(m), m_next = state(task, n + 1), s_next = second(m_next);
            begin(row, head, n, m, s);
            if (call_.opens_at(row, n)) std::memcpy(anchor_[0], m[0], size() * sizeof(T));
            s_.load(row, head, n);
            s_.coordinates();
            s_.errors_at(anchor_);
            s_.report();
            read(m, s);
            write(m, s, m_next, s_next);
        }
        const Rows<T> last = state(task, call_.segments);
        leave(call_.last_weights, last, task);
        leave(call_.last_momenta, second(last), task);
        leave(call_.last_anchors, anchor_, task);
    }

   protected:
    const Call<T>& call_;
    Workspace<T> work_;
    Segment<T> s_;
    const int D, V;
    Rows<T> anchor_, keys_turned_, similar_, reads_, scaled_errors_, scaled_queries_;

    std::size_t size() const { return static_cast<std::size_t>(D) * anchor_.width; }

    Rows<T> state(int64_t task, int64_t n) const {
        const int64_t held = call_.kept ? call_.segments + 1 : 2;
        return {call_.states + (task * held + (call_.kept ? n : n % 2)) * 2 * size(), anchor_.width};
    }

    Rows<T> second(const Rows<T>& m) const { return {m.data + size(), m.width}; }

    void enter(const Rows<T>& m, const T* weights, const T* momenta, int64_t task) {
        transpose(m[0], m.width, matrix_of(call_, weights, task), D, V, D);
        transpose(second(m)[0], m.width, matrix_of(call_, momenta, task), D, V, D);
    }

    void leave(T* to, const Rows<T>& m, int64_t task) {
        transpose(matrix_of(call_, to, task), D, m[0], m.width, D, V);
    }

    // A document begins with M_0 and without momentum.
    void begin(int64_t row, int64_t head, int64_t n, const Rows<T>& m, const Rows<T>& s) {
        if (!call_.resets_at(row, n)) return;
        transpose(m[0], m.width, call_.initial + head * V * D, D, V, D);
        std::memset(s[0], 0, size() * sizeof(T));
    }

    // Coordinates that token i reads with: those after its write, or before it.
    T* of_read(const Rows<T>& all, int i) const { return all[call_.read == BEFORE ? i : i + 1]; }

    // Q K^T.
    void similarities() {
        transpose(keys_turned_[0], keys_turned_.width, s_.keys[0], s_.keys.width, s_.slots, D);
        product(similar_, straight(s_.queries), keys_turned_, s_.tokens, s_.slots, D);
    }

    // Queries times the coordinate of S or M that their tokens read with.
    Left<T> queries_times(int coordinate) {
        for (int i = 0; i < s_.tokens; ++i)
            scale_to(scaled_queries_[i], of_read(s_.W, i)[coordinate], s_.queries[i], D);
        return straight(scaled_queries_);
    }

    void read(const Rows<T>& m, const Rows<T>& s) {
        if (call_.read == AT_ANCHOR) {
            product(reads_, straight(s_.queries), anchor_, s_.tokens, V, D);
        } else {
            similarities();
            for (int i = 0; i < s_.tokens; ++i) {
                const T* __restrict w = of_read(s_.W, i);
                T* __restrict c = similar_[i];
#pragma omp simd
                for (int j = 0; j < s_.slots; ++j) c[j] *= w[j];
            }
            product(reads_, straight(similar_), s_.errors, s_.tokens, V, s_.slots);
            product(reads_, queries_times(s_.of_m()), m, s_.tokens, V, D, true);
            product(reads_, queries_times(s_.of_s()), s, s_.tokens, V, D, true);
        }
        for (int i = 0; i < s_.tokens; ++i) std::memcpy(call_.reads + s_.gate(i) * V, reads_[i], V * sizeof(T));
    }

    // What the last token of the segment leaves.
    void write(const Rows<T>& m, const Rows<T>& s, const Rows<T>& m_next, const Rows<T>& s_next) {
        const T *w = s_.W[s_.tokens], *u = s_.U[s_.tokens];
        const T of_m = w[s_.of_m()], of_s = w[s_.of_s()], kept = u[s_.of_s()];
        for (std::size_t i = 0; i < size(); ++i) {
            m_next.data[i] = of_m * m.data[i] + of_s * s.data[i];
            s_next.data[i] = kept * s.data[i];
        }
        product(m_next, turned(s_.keys), errors_times(w), D, V, s_.slots, true);
        product(s_next, turned(s_.keys), errors_times(u), D, V, s_.slots, true);
    }

    Rows<T> errors_times(const T* coordinates) {
        for (int j = 0; j < s_.slots; ++j) scale_to(scaled_errors_[j], coordinates[j], s_.errors[j], V);
        return scaled_errors_;
    }
};

template <class T>
int forward(const Call<T>& call) {
    auto make = [&] { return std::make_unique<Matrix<T>>(call); };
    return each(call.threads, call.batch * call.heads, make, [](Matrix<T>& m, int64_t task) { m.forward(task); });
}

}  // namespace kernels
