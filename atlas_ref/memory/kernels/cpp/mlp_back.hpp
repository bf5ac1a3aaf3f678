// The adjoint of `mlp.hpp`: from the last segment to the first, everything but M and S at the borders made again.
#pragma once

#include <utility>

#include "mlp.hpp"

namespace kernels {

template <class T>
class MlpBack : Mlp<T, MixedBack<T>> {
    using Base = Mlp<T, MixedBack<T>>;
    using Base::anchor_, Base::call_, Base::columns_, Base::D, Base::H, Base::hidden_, Base::inner_, Base::left_,
        Base::outer_, Base::s_, Base::size, Base::slope_, Base::state, Base::upright_outer_, Base::V, Base::wide_,
        Base::work_;

   public:
    explicit MlpBack(const Call<T>& call)
        : Base(call),
          d_reads_(work_.rows(s_.most, V)),
          d_asked_(work_.rows(s_.most, H)),
          d_queries_(work_.rows(s_.most, D)),
          d_keys_(work_.rows(s_.most_slots, D)),
          d_errors_(work_.rows(s_.most_slots, V)),
          d_hidden_(work_.rows(s_.most_slots, H)),
          d_left_(work_.rows(s_.most_slots, H)),
          d_slope_(work_.rows(s_.most_slots, H)),
          d_columns_(work_.row(H)),
          d_anchor_(this->layers(work_.row(size()))),
          d_m_(this->layers(work_.row(size()))),
          d_s_(this->layers(work_.row(size()))),
          d_m_before_(this->layers(work_.row(size()))),
          d_s_before_(this->layers(work_.row(size()))) {}

    void backward(int64_t task) {
        const int64_t row = task / call_.heads;
        this->take(d_m_, call_.d_last_weights, task);
        this->take(d_s_, call_.d_last_momenta, task);
        this->take(d_anchor_, call_.d_last_anchors, task);
        later_ = true;
        for (int64_t n = call_.segments - 1; n >= 0; --n) {
            const int64_t from = call_.opened(row, n);
            if (from >= 0)
                anchor_ = state(task, from, 0);
            else
                this->take(anchor_ = this->own_anchor_, call_.anchors, task);
            this->begin(task, n);
            this->factors();
            s_.forget();
            memory_back(state(task, n, 0), state(task, n, 1));
            s_.coordinates_back();
            anchor_back(call_.opens_at(row, n) ? d_m_before_ : d_anchor_);
            if (call_.opens_at(row, n)) open_back();
            later_ = !call_.opens_at(row, n);
            s_.give_back(d_keys_, d_errors_);
            for (int i = 0; i < s_.tokens; ++i)
                std::memcpy(call_.d_queries + s_.gate(i) * D, d_queries_[i], D * sizeof(T));
            std::swap(d_m_, d_m_before_), std::swap(d_s_, d_s_before_);
            if (call_.resets_at(row, n)) begin_back(task);
        }
        this->leave(call_.d_weights, d_m_, task);
        this->leave(call_.d_momenta, d_s_, task);
        this->leave(call_.d_anchors, d_anchor_, task);
    }

   private:
    Rows<T> d_reads_, d_asked_, d_queries_, d_keys_, d_errors_, d_hidden_, d_left_, d_slope_;
    T* d_columns_;
    Layers<T> d_anchor_;  // by the segments that were seen and those behind the call
    bool later_;          // whether there are any since the last that opened: else it is zero
    Layers<T> d_m_, d_s_, d_m_before_, d_s_before_;

    // The anchor that later segments had is M before this one.
    void open_back() {
        if (!later_) return;
        for (std::size_t i = 0; i < size(); ++i) d_m_before_.outer.data[i] += d_anchor_.outer.data[i];
        std::memset(d_anchor_.outer[0], 0, size() * sizeof(T));
    }

    // Reads and writes: sets the gradients of queries, keys, errors, h and what W2 feels.
    void memory_back(const Layers<T>& m, const Layers<T>& s) {
        const Held<T> outer{m.outer, s.outer}, inner{m.inner, s.inner};
        const Held<T> d_outer{d_m_.outer, d_s_.outer}, d_inner{d_m_.inner, d_s_.inner};
        const Held<T> d_outer_before{d_m_before_.outer, d_s_before_.outer};
        const Held<T> d_inner_before{d_m_before_.inner, d_s_before_.inner};
        this->answer();
        for (int i = 0; i < s_.tokens; ++i)
            std::memcpy(d_reads_[i], call_.d_reads + s_.gate(i) * V, V * sizeof(T));
        outer_.carried_back(outer, d_outer, d_outer_before);
        inner_.carried_back(inner, d_inner, d_inner_before);
        outer_.read_back(d_reads_, d_asked_, d_hidden_, d_errors_, this->asked_hidden_, hidden_, s_.errors, outer,
                         d_outer_before);
        for (int i = 0; i < s_.tokens; ++i) multiply(d_asked_[i], this->asked_slope_[i], H);
        inner_.read_back(d_asked_, d_queries_, d_keys_, d_left_, s_.queries, s_.keys, left_, inner, d_inner_before);
        for (int i = 0; i < s_.tokens; ++i) add_scaled(d_queries_[i], T(1), d_reads_[i], wide_);
        outer_.write_back(d_hidden_, d_errors_, hidden_, s_.errors, d_outer);
        inner_.write_back(d_keys_, d_left_, s_.keys, left_, d_inner);
    }

    // All that was taken at the anchor: to keys, errors and `d_anchor`.
    void anchor_back(const Layers<T>& d_anchor) {
        for (int j = 0; j < s_.slots; ++j) {
            scale_to(d_slope_[j], T(1), d_left_[j], H);
            multiply(d_slope_[j], this->felt_[j], H);
            multiply(d_left_[j], slope_[j], H);  // from here on the gradient of W1^T e
        }
        std::memset(d_columns_, 0, H * sizeof(T));
        if (call_.normalised)
            for (int j = 0; j < s_.slots; ++j)
                if (s_.kappa[j] >= T(1)) curvature_back(j, -s_.d_share[j] * s_.share[j] * s_.share[j]);
        product(d_errors_, straight(d_left_), anchor_.outer, s_.slots, V, H, true);
        product(d_anchor.outer, turned(d_left_), s_.errors, H, V, s_.slots, true);
        for (int i = 0; i < H; ++i) add_scaled(d_anchor.outer[i], 2 * d_columns_[i], anchor_.outer[i], V);
        product(d_hidden_, straight(d_errors_), upright_outer_, s_.slots, H, V, true);
        product(d_anchor.outer, turned(hidden_), d_errors_, H, V, s_.slots, true);
        for (int j = 0; j < s_.slots; ++j) {
            add_scaled(d_keys_[j], T(1), d_errors_[j], wide_);
            multiply(d_hidden_[j], slope_[j], H);  // from here on the gradient of z
            add_bend(d_hidden_[j], d_slope_[j], this->before_[j], H);
        }
        product(d_keys_, straight(d_hidden_), inner_.upright(anchor_.inner), s_.slots, D, H, true);
        product(d_anchor.inner, turned(s_.keys), d_hidden_, D, H, s_.slots, true);
    }

    // kappa of slot j, whose gradient is d.
    void curvature_back(int j, T d) {
        const T key_square = this->key_square_[j];
        add_scaled(d_hidden_[j], 2 * d, hidden_[j], H);
        T *__restrict d_slope = d_slope_[j], *__restrict d_columns = d_columns_;
        const T *__restrict slope = slope_[j], *__restrict column = columns_;
#pragma omp simd
        for (int i = 0; i < H; ++i) {
            d_slope[i] += 2 * d * key_square * slope[i] * column[i];
            d_columns[i] += d * key_square * slope[i] * slope[i];
        }
        // A length of 0 has a gradient of 0.
        const T length = std::sqrt(key_square), missed = std::sqrt(this->error_square_[j]);
        const T turning = static_cast<T>(GELU_SLOPE) * d;
        add_scaled(d_keys_[j], 2 * d * this->bound_[j] + (length > 0 ? turning * missed / length : T(0)), s_.keys[j], D);
        if (missed > 0) add_scaled(d_errors_[j], turning * length / missed, s_.errors[j], V);
    }

    // A document that begins here takes the gradient of M to M_0 and lets nothing through.
    void begin_back(int64_t task) {
        const Rows<T> outer = outer_.upright(d_m_.outer), inner = inner_.upright(d_m_.inner);
        for (int i = 0; i < V; ++i) add_scaled(call_.d_initial[0] + (task * V + i) * H, T(1), outer[i], H);
        for (int i = 0; i < H; ++i) add_scaled(call_.d_initial[1] + (task * H + i) * D, T(1), inner[i], D);
        std::memset(d_m_.outer[0], 0, size() * sizeof(T));
        std::memset(d_s_.outer[0], 0, size() * sizeof(T));
    }
};

template <class T>
int mlp_backward(const Call<T>& call) {
    auto make = [&] { return std::make_unique<MlpBack<T>>(call); };
    return each(call.threads, call.batch * call.heads, make, [](MlpBack<T>& m, int64_t task) { m.backward(task); });
}

}  // namespace kernels
