// The matrix memory under Newton-Schulz, a row and head at a time: between the tokens of a segment that write, M stays.
//
//     S_t = theta_t S_{t-1} + intake_t sum_a gamma_a e k^T / max(1, kappa),      M_t = alpha_t M_{t-1} + release_t NS(S_t)
//
// M and S have a row for each value.
#pragma once

#include <memory>

#include "newton_schulz.hpp"
#include "segment.hpp"

namespace kernels {

// What one writing token made of what it found: S and M after it, NS(S) and its steps.
template <class T>
struct Written {
    Rows<T> s, m, update;
    std::vector<Step<T>> steps;
};

template <class T>
class Orthogonal {
   public:
    // With `traced` all writes of a segment are kept, for the way back; without, no more than two.
    Orthogonal(const Call<T>& call, bool traced)
        : call_(call),
          seg_(call, work_),
          D(seg_.D),
          V(seg_.V),
          newton_schulz_(V, D, call.steps, call.coefficients, call.offset, work_),
          anchor_(work_.rows(D, V)),
          turned_(work_.rows(D, V)),
          reads_(work_.rows(seg_.most, V)),
          weighted_(work_.rows(seg_.past + 1, V)) {
        const int64_t held = traced ? call.writers : 2;
        for (int64_t i = 0; i < held; ++i) {
            const bool own = traced || i == 0;
            writes_.push_back({work_.rows(V, D), work_.rows(V, D), work_.rows(V, D),
                               own ? newton_schulz_.trace(work_) : writes_[0].steps});
        }
    }

    void forward(int64_t task) {
        const int64_t row = task / call_.heads, head = task % call_.heads;
        copy_in(state(task, 0), call_.weights[0], task);
        copy_in(second(state(task, 0)), call_.momenta[0], task);
        transpose(anchor_[0], anchor_.width, call_.anchors[0] + task * V * D, D, V, D);
        for (int64_t n = 0; n < call_.segments; ++n) {
            const Rows<T> m = state(task, n), s = second(m), m_next = state(task, n + 1);
            if (call_.resets_at(row, n)) {
                copy_in(m, call_.initial[0], head);
                std::memset(s[0], 0, size() * sizeof(T));
            }
            if (call_.opens_at(row, n)) transpose(anchor_[0], anchor_.width, m[0], m.width, V, D);
            begin(row, head, n);
            seg_.report();
            if (call_.read == AT_ANCHOR) read(anchor_, 0, seg_.tokens);
            Rows<T> m_now = m, s_now = s;
            for (std::size_t stage = 0; stage <= written_.size(); ++stage) {
                if (stage > 0) {
                    const Written<T>& made = write(stage, m_now, s_now);
                    m_now = made.m, s_now = made.s;
                }
                if (call_.read == AT_ANCHOR) continue;
                transpose(turned_[0], turned_.width, m_now[0], m_now.width, V, D);
                read(turned_, first(stage), first(stage + 1));
            }
            for (int i = 0; i < seg_.tokens; ++i) std::memcpy(call_.reads + seg_.gate(i) * V, reads_[i], V * sizeof(T));
            std::memcpy(m_next[0], m_now[0], size() * sizeof(T));
            std::memcpy(second(m_next)[0], s_now[0], size() * sizeof(T));
        }
        const Rows<T> last = state(task, call_.segments);
        copy_out(call_.last_weights[0], last, task);
        copy_out(call_.last_momenta[0], second(last), task);
        transpose(call_.last_anchors[0] + task * V * D, D, anchor_[0], anchor_.width, D, V);
    }

   protected:
    const Call<T>& call_;
    Workspace<T> work_;
    Segment<T> seg_;
    const int D, V;
    NewtonSchulz<T> newton_schulz_;
    Rows<T> anchor_, turned_, reads_, weighted_;
    std::vector<Written<T>> writes_;
    std::vector<int> written_;  // the tokens of the segment that write

    std::size_t size() const { return static_cast<std::size_t>(V) * stride<T>(D); }

    Rows<T> state(int64_t task, int64_t n) const {
        return {call_.state(task, n, 2 * size()), stride<T>(D)};
    }

    Rows<T> second(const Rows<T>& m) const { return {m.data + size(), m.width}; }

    void copy_in(const Rows<T>& to, const T* all, int64_t which) {
        for (int i = 0; i < V; ++i) std::memcpy(to[i], all + (which * V + i) * D, D * sizeof(T));
    }

    void copy_out(T* all, const Rows<T>& from, int64_t which) {
        for (int i = 0; i < V; ++i) std::memcpy(all + (which * V + i) * D, from[i], D * sizeof(T));
    }

    void begin(int64_t row, int64_t head, int64_t n) {
        seg_.load(row, head, n);
        seg_.squares();
        seg_.errors_at(anchor_);
        written_.clear();
        for (int i = 0; i < seg_.tokens; ++i)
            if (call_.writing[row * call_.time + seg_.start + i]) written_.push_back(i);
    }

    // The first token that reads M as `stage` writes have left it; the last stage reads up to the end.
    int first(std::size_t stage) const {
        if (stage == 0) return 0;
        if (stage > written_.size()) return seg_.tokens;
        return written_[stage - 1] + (call_.read == BEFORE ? 1 : 0);
    }

    void read(const Rows<T>& m_turned, int from, int to) {
        if (from < to) product(from_row(reads_, from), straight(from_row(seg_.queries, from)), m_turned, to - from, V, D);
    }

    static Rows<T> from_row(const Rows<T>& rows, int i) { return {rows[i], rows.width}; }

    // Errors of the window of token i, from the oldest on, times intake gamma / max(1, kappa).
    Rows<T> weighted(int i) {
        const int64_t g = seg_.gate(i);
        for (int j = 0; j <= seg_.past; ++j) {
            const T factor = call_.intake[g] * call_.gamma[g * (seg_.past + 1) + seg_.past - j] * seg_.share[i + j];
            scale_to(weighted_[j], factor, seg_.errors[i + j], V);
        }
        return weighted_;
    }

    const Written<T>& write(std::size_t stage, const Rows<T>& m, const Rows<T>& s) {
        const Written<T>& made = writes_[(stage - 1) % writes_.size()];
        const int i = written_[stage - 1];
        const int64_t g = seg_.gate(i);
        for (int r = 0; r < V; ++r) scale_to(made.s[r], call_.momentum[g], s[r], D);
        product(made.s, turned(weighted(i)), from_row(seg_.keys, i), V, D, seg_.past + 1, true);
        newton_schulz_.forward(made.s, made.steps, made.update);
        for (int r = 0; r < V; ++r) {
            scale_to(made.m[r], call_.retention[g], m[r], D);
            add_scaled(made.m[r], call_.release[g], made.update[r], D);
        }
        return made;
    }
};

template <class T>
int orthogonal_forward(const Call<T>& call) {
    auto make = [&] { return std::make_unique<Orthogonal<T>>(call, false); };
    return each(call.threads, call.batch * call.heads, make, [](Orthogonal<T>& m, int64_t task) { m.forward(task); });
}

}  // namespace kernels
