// The memory that is one matrix, a row and head at a time: segment after segment, so that what one needs stays in the
// cache. M^T and S^T of a head have a row for each feature.
#pragma once

#include <memory>

#include "mixed.hpp"

namespace kernels {

template <class T, class One = Mixed<T>>
class Matrix {
   public:
    explicit Matrix(const Call<T>& call)
        : call_(call),
          s_(call, work_),
          D(s_.D),
          V(s_.V),
          mixed_(s_, D, V, work_),
          anchor_(work_.rows(D, V)),
          reads_(work_.rows(s_.most, V)) {}

    // Every segment of one row and head; M^T and S^T at their borders stay in `states`.
    void forward(int64_t task) {
        const int64_t row = task / call_.heads, head = task % call_.heads;
        take(state(task, 0).m, call_.weights[0], task);
        take(state(task, 0).s, call_.momenta[0], task);
        take(anchor_, call_.anchors[0], task);
        for (int64_t n = 0; n < call_.segments; ++n) {
            const Held<T> held = state(task, n);
            begin(row, head, n, held);
            if (call_.opens_at(row, n)) std::memcpy(anchor_[0], held.m[0], size() * sizeof(T));
            load(row, head, n);
            s_.report();
            if (call_.read == AT_ANCHOR)
                product(reads_, straight(s_.queries), anchor_, s_.tokens, V, D);
            else
                mixed_.read(reads_, s_.queries, s_.keys, s_.errors, held);
            for (int i = 0; i < s_.tokens; ++i) std::memcpy(call_.reads + s_.gate(i) * V, reads_[i], V * sizeof(T));
            mixed_.write(s_.keys, s_.errors, held, state(task, n + 1));
        }
        const Held<T> last = state(task, call_.segments);
        leave(call_.last_weights[0], last.m, task);
        leave(call_.last_momenta[0], last.s, task);
        leave(call_.last_anchors[0], anchor_, task);
    }

   protected:
    const Call<T>& call_;
    Workspace<T> work_;
    Segment<T> s_;
    const int D, V;
    One mixed_;
    Rows<T> anchor_, reads_;

    std::size_t size() const { return static_cast<std::size_t>(D) * anchor_.width; }

    Held<T> state(int64_t task, int64_t n) const {
        T* m = call_.state(task, n, 2 * size());
        return {{m, anchor_.width}, {m + size(), anchor_.width}};
    }

    void take(const Rows<T>& to, const T* all, int64_t which) {
        transpose(to[0], to.width, all + which * V * D, D, V, D);
    }

    void leave(T* all, const Rows<T>& from, int64_t task) {
        transpose(all + task * V * D, D, from[0], from.width, D, V);
    }

    // A document begins with M_0 and without momentum.
    void begin(int64_t row, int64_t head, int64_t n, const Held<T>& held) {
        if (!call_.resets_at(row, n)) return;
        take(held.m, call_.initial[0], head);
        std::memset(held.s[0], 0, size() * sizeof(T));
    }

    // What a segment knows at its anchor.
    void load(int64_t row, int64_t head, int64_t n) {
        s_.load(row, head, n);
        s_.squares();
        s_.coordinates();
        s_.errors_at(anchor_);
    }
};

template <class T>
int forward(const Call<T>& call) {
    auto make = [&] { return std::make_unique<Matrix<T>>(call); };
    return each(call.threads, call.batch * call.heads, make, [](Matrix<T>& m, int64_t task) { m.forward(task); });
}

}  // namespace kernels
