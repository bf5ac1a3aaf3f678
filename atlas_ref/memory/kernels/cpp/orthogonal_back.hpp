// The adjoint of `orthogonal.hpp`: from the last segment to the first, each made again before it is gone through back.
#pragma once

#include "orthogonal.hpp"

namespace kernels {

template <class T>
class OrthogonalBack : Orthogonal<T> {
    using Base = Orthogonal<T>;
    using Base::anchor_, Base::call_, Base::D, Base::first, Base::from_row, Base::newton_schulz_, Base::seg_,
        Base::size, Base::state, Base::second, Base::turned_, Base::V, Base::work_, Base::writes_, Base::written_;

   public:
    explicit OrthogonalBack(const Call<T>& call)
        : Base(call, true),
          upright_(work_.rows(V, D)),
          d_anchor_(work_.rows(V, D)),
          d_m_(work_.rows(V, D)),
          d_s_(work_.rows(V, D)),
          d_update_(work_.rows(V, D)),
          d_reads_(work_.rows(seg_.most, V)),
          d_queries_(work_.rows(seg_.most, D)),
          d_keys_(work_.rows(seg_.most_slots, D)),
          d_errors_(work_.rows(seg_.most_slots, V)),
          to_errors_(work_.rows(seg_.past + 1, V)),
          to_keys_(work_.rows(seg_.past + 1, D)) {}

    void backward(int64_t task) {
        const int64_t row = task / call_.heads, head = task % call_.heads;
        this->copy_in(d_m_, call_.d_last_weights[0], task);
        this->copy_in(d_s_, call_.d_last_momenta[0], task);
        this->copy_in(d_anchor_, call_.d_last_anchors[0], task);
        for (int64_t n = call_.segments - 1; n >= 0; --n) {
            again(row, head, n, task);
            if (call_.read == AT_ANCHOR) reads_back(upright_, d_anchor_, 0, seg_.tokens);
            for (std::size_t stage = written_.size() + 1; stage-- > 0;) {
                const Rows<T> m = stage ? writes_[stage - 1].m : state(task, n);
                if (call_.read != AT_ANCHOR) reads_back(m, d_m_, first(stage), first(stage + 1));
                if (stage == 0) break;
                const Rows<T> before = stage > 1 ? writes_[stage - 2].m : state(task, n);
                const Rows<T> s_before = stage > 1 ? writes_[stage - 2].s : second(state(task, n));
                write_back(written_[stage - 1], writes_[stage - 1], before, s_before);
            }
            errors_back(call_.opens_at(row, n));
            seg_.squares_back(d_keys_);
            seg_.give_back(d_keys_, d_errors_);
            for (int i = 0; i < seg_.tokens; ++i)
                std::memcpy(call_.d_queries + seg_.gate(i) * D, d_queries_[i], D * sizeof(T));
            if (call_.resets_at(row, n)) begin_back(task);
        }
        this->copy_out(call_.d_weights[0], d_m_, task);
        this->copy_out(call_.d_momenta[0], d_s_, task);
        this->copy_out(call_.d_anchors[0], d_anchor_, task);
    }

   private:
    // Gradients of the anchor, M, S and NS(S), of what the segment reads and is given, and of one window.
    Rows<T> upright_, d_anchor_, d_m_, d_s_, d_update_, d_reads_, d_queries_, d_keys_, d_errors_, to_errors_, to_keys_;

    // Make a segment again, with all its writes.
    void again(int64_t row, int64_t head, int64_t n, int64_t task) {
        const int64_t from = call_.opened(row, n);
        if (from >= 0)
            std::memcpy(upright_[0], state(task, from)[0], size() * sizeof(T));
        else
            this->copy_in(upright_, call_.anchors[0], task);
        transpose(anchor_[0], anchor_.width, upright_[0], upright_.width, V, D);
        this->begin(row, head, n);
        Rows<T> m = state(task, n), s = second(m);
        for (std::size_t stage = 1; stage <= written_.size(); ++stage) {
            const Written<T>& made = this->write(stage, m, s);
            m = made.m, s = made.s;
        }
        for (int i = 0; i < seg_.tokens; ++i) {
            const int64_t g = seg_.gate(i);
            std::memcpy(d_reads_[i], call_.d_reads + g * V, V * sizeof(T));
            // A token that does not write has gates without a gradient.
            call_.d_retention[g] = call_.d_momentum[g] = call_.d_intake[g] = call_.d_release[g] = 0;
            std::memset(call_.d_gamma + g * (seg_.past + 1), 0, (seg_.past + 1) * sizeof(T));
        }
        std::memset(d_keys_[0], 0, seg_.slots * d_keys_.width * sizeof(T));
        std::memset(d_errors_[0], 0, seg_.slots * d_errors_.width * sizeof(T));
        std::memset(seg_.d_share, 0, seg_.slots * sizeof(T));
    }

    // y = M q of some tokens.
    void reads_back(const Rows<T>& m, const Rows<T>& d_m, int from, int to) {
        if (from >= to) return;
        product(from_row(d_queries_, from), straight(from_row(d_reads_, from)), m, to - from, D, V);
        product(d_m, turned(from_row(d_reads_, from)), from_row(seg_.queries, from), V, D, to - from, true);
    }

    T inner(const Rows<T>& a, const Rows<T>& b) const {
        T sum = 0;
        for (int i = 0; i < V; ++i) sum += dot(a[i], b[i], D);
        return sum;
    }

    void write_back(int i, const Written<T>& made, const Rows<T>& m_before, const Rows<T>& s_before) {
        const int64_t g = seg_.gate(i);
        call_.d_retention[g] = inner(d_m_, m_before);
        call_.d_release[g] = inner(d_m_, made.update);
        for (int r = 0; r < V; ++r) {
            scale_to(d_update_[r], call_.release[g], d_m_[r], D);
            scale_to(d_m_[r], call_.retention[g], d_m_[r], D);
        }
        newton_schulz_.backward(made.s, made.steps, d_update_);
        for (int r = 0; r < V; ++r) add_scaled(d_s_[r], T(1), d_update_[r], D);
        call_.d_momentum[g] = inner(d_s_, s_before);
        window_back(i, g);
        for (int r = 0; r < V; ++r) scale_to(d_s_[r], call_.momentum[g], d_s_[r], D);
    }

    // What the window of token i brought into S.
    void window_back(int i, int64_t g) {
        const int window = seg_.past + 1;
        transpose(turned_[0], turned_.width, d_s_[0], d_s_.width, V, D);
        product(to_errors_, straight(from_row(seg_.keys, i)), turned_, window, V, D);
        product(to_keys_, straight(from_row(seg_.errors, i)), d_s_, window, D, V);
        T d_intake = 0;
        for (int j = 0; j < window; ++j) {
            const int64_t age = g * window + seg_.past - j;
            const T along = dot(to_errors_[j], seg_.errors[i + j], V), gamma = call_.gamma[age], share = seg_.share[i + j];
            const T factor = call_.intake[g] * gamma * share;
            add_scaled(d_errors_[i + j], factor, to_errors_[j], V);
            add_scaled(d_keys_[i + j], factor, to_keys_[j], D);
            d_intake += along * gamma * share;
            call_.d_gamma[age] = along * call_.intake[g] * share;
            seg_.d_share[i + j] += along * call_.intake[g] * gamma;
        }
        call_.d_intake[g] = d_intake;
    }

    // E = K X^T - V: to the keys and the anchor, which is M itself where the segment opens.
    void errors_back(bool opens) {
        product(d_keys_, straight(d_errors_), upright_, seg_.slots, D, V, true);
        product(opens ? d_m_ : d_anchor_, turned(d_errors_), seg_.keys, V, D, seg_.slots, true);
        if (!opens) return;
        for (int i = 0; i < V; ++i) add_scaled(d_m_[i], T(1), d_anchor_[i], D);
        std::memset(d_anchor_[0], 0, size() * sizeof(T));
    }

    // A document that begins here takes the gradient of M to M_0 and lets nothing through.
    void begin_back(int64_t task) {
        for (int i = 0; i < V; ++i) add_scaled(call_.d_initial[0] + (task * V + i) * D, T(1), d_m_[i], D);
        std::memset(d_m_[0], 0, size() * sizeof(T));
        std::memset(d_s_[0], 0, size() * sizeof(T));
    }
};

template <class T>
int orthogonal_backward(const Call<T>& call) {
    auto make = [&] { return std::make_unique<OrthogonalBack<T>>(call); };
    return each(call.threads, call.batch * call.heads, make,
                [](OrthogonalBack<T>& m, int64_t task) { m.backward(task); });
}

}  // namespace kernels
