// The adjoint of `matrix.hpp`: from the last segment to the first, everything but M and S at the borders made again.
#pragma once

#include "matrix.hpp"

namespace kernels {

template <class T>
class MatrixBack : Matrix<T> {
    using Base = Matrix<T>;
    using Base::anchor_, Base::call_, Base::D, Base::keys_turned_, Base::s_, Base::scaled_queries_, Base::similar_,
        Base::size, Base::V, Base::work_;

   public:
    explicit MatrixBack(const Call<T>& call)
        : Base(call),
          d_reads_(work_.rows(s_.most, V)),
          mixed_(work_.rows(s_.most, s_.most_slots)),
          d_mixed_(work_.rows(s_.most, s_.most_slots)),
          errors_turned_(work_.rows(V, s_.most_slots)),
          d_queries_(work_.rows(s_.most, D)),
          d_keys_(work_.rows(s_.most_slots, D)),
          d_errors_(work_.rows(s_.most_slots, V)),
          scaled_keys_(work_.rows(s_.most_slots, D)),
          back_(work_.rows(s_.most_slots, D)),
          upright_(work_.rows(V, D)),
          d_anchor_(work_.rows(D, V)),
          d_m_(work_.rows(D, V)),
          d_s_(work_.rows(D, V)),
          d_m_before_(work_.rows(D, V)),
          d_s_before_(work_.rows(D, V)) {}

    void backward(int64_t task) {
        const int64_t row = task / call_.heads, head = task % call_.heads;
        take(d_m_, call_.d_last_weights, task);
        take(d_s_, call_.d_last_momenta, task);
        take(d_anchor_, call_.d_last_anchors, task);
        for (int64_t n = call_.segments - 1; n >= 0; --n) {
            const Rows<T> m = this->state(task, n), s = this->second(m);
            s_.load(row, head, n);
            s_.coordinates();
            s_.forget();
            anchor_of(row, n, task);
            s_.errors_at(anchor_);
            for (int i = 0; i < s_.tokens; ++i)
                std::memcpy(d_reads_[i], call_.d_reads + s_.gate(i) * V, V * sizeof(T));
            carried(m, s);
            if (call_.read == AT_ANCHOR)
                read_at_anchor();
            else
                read_back(m, s);
            write_back();
            errors_back(call_.opens_at(row, n));
            s_.coordinates_back();
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
    Rows<T> d_reads_, mixed_, d_mixed_, errors_turned_, d_queries_, d_keys_, d_errors_, scaled_keys_, back_, upright_;
    Rows<T> d_anchor_, d_m_, d_s_, d_m_before_, d_s_before_;  // of M^T and S^T after the segment, and before it

    void take(const Rows<T>& to, const T* from, int64_t task) {
        transpose(to[0], to.width, matrix_of(call_, from, task), D, V, D);
    }

    // The anchor is M where a segment last opened, or what came in.
    void anchor_of(int64_t row, int64_t n, int64_t task) {
        while (n >= 0 && !call_.opens_at(row, n)) --n;
        if (n >= 0)
            std::memcpy(anchor_[0], this->state(task, n)[0], size() * sizeof(T));
        else
            take(anchor_, call_.anchors, task);
    }

    // The transpose of a D x V matrix.
    Rows<T> upright(const Rows<T>& m) {
        transpose(upright_[0], upright_.width, m[0], m.width, D, V);
        return upright_;
    }

    // M and S that go through a segment as they came.
    void carried(const Rows<T>& m, const Rows<T>& s) {
        const T *w = s_.W[s_.tokens], *u = s_.U[s_.tokens];
        const T of_m = w[s_.of_m()], of_s = w[s_.of_s()], kept = u[s_.of_s()];
        T d_of_m = 0, d_of_s = 0, d_kept = 0;
        for (int i = 0; i < D; ++i) {
            d_of_m += dot(d_m_[i], m[i], V);
            d_of_s += dot(d_m_[i], s[i], V);
            d_kept += dot(d_s_[i], s[i], V);
        }
        s_.dW[s_.tokens][s_.of_m()] += d_of_m;
        s_.dW[s_.tokens][s_.of_s()] += d_of_s;
        s_.dU[s_.tokens][s_.of_s()] += d_kept;
        for (std::size_t i = 0; i < size(); ++i) {
            d_m_before_.data[i] = of_m * d_m_.data[i];
            d_s_before_.data[i] = of_s * d_m_.data[i] + kept * d_s_.data[i];
        }
    }

    // Sets the gradients of queries, keys and errors, and adds to that of the anchor.
    void read_at_anchor() {
        product(d_queries_, straight(d_reads_), upright(anchor_), s_.tokens, D, V);
        product(d_anchor_, turned(s_.queries), d_reads_, D, V, s_.tokens, true);
        std::memset(d_keys_[0], 0, s_.slots * d_keys_.width * sizeof(T));
        std::memset(d_errors_[0], 0, s_.slots * d_errors_.width * sizeof(T));
    }

    // Sets the gradients of queries, keys and errors, and adds to those of M, S and the coordinates.
    void read_back(const Rows<T>& m, const Rows<T>& s) {
        this->similarities();
        transpose(errors_turned_[0], errors_turned_.width, s_.errors[0], s_.errors.width, s_.slots, V);
        product(d_mixed_, straight(d_reads_), errors_turned_, s_.tokens, s_.slots, V);
        for (int i = 0; i < s_.tokens; ++i) {
            const T *__restrict w = this->of_read(s_.W, i), *__restrict p = similar_[i];
            T *__restrict c = mixed_[i], *__restrict dc = d_mixed_[i], *__restrict dw = this->of_read(s_.dW, i);
#pragma omp simd
            for (int j = 0; j < s_.slots; ++j) {
                c[j] = p[j] * w[j];
                dw[j] += dc[j] * p[j];
                dc[j] *= w[j];
            }
        }
        product(d_errors_, turned(mixed_), d_reads_, s_.slots, V, s_.tokens);
        product(d_queries_, straight(d_mixed_), s_.keys, s_.tokens, D, s_.slots);
        product(d_keys_, turned(d_mixed_), s_.queries, s_.slots, D, s_.tokens);
        read_carried(m, s_.of_m(), d_m_before_);
        read_carried(s, s_.of_s(), d_s_before_);
    }

    // The share of M or S in reads.
    void read_carried(const Rows<T>& m, int coordinate, const Rows<T>& d_m) {
        product(back_, straight(d_reads_), upright(m), s_.tokens, D, V);
        for (int i = 0; i < s_.tokens; ++i) {
            this->of_read(s_.dW, i)[coordinate] += dot(back_[i], s_.queries[i], D);
            add_scaled(d_queries_[i], this->of_read(s_.W, i)[coordinate], back_[i], D);
        }
        this->queries_times(coordinate);
        product(d_m, turned(scaled_queries_), d_reads_, D, V, s_.tokens, true);
    }

    void write_back() {
        written(d_m_, s_.W[s_.tokens], s_.dW[s_.tokens]);
        written(d_s_, s_.U[s_.tokens], s_.dU[s_.tokens]);
    }

    // What a segment wrote into M or S with these coordinates.
    void written(const Rows<T>& d_m, const T* coordinates, T* d_coordinates) {
        for (int j = 0; j < s_.slots; ++j) scale_to(scaled_keys_[j], coordinates[j], s_.keys[j], D);
        product(d_errors_, straight(scaled_keys_), d_m, s_.slots, V, D, true);
        product(back_, straight(s_.errors), upright(d_m), s_.slots, D, V);
        for (int j = 0; j < s_.slots; ++j) {
            d_coordinates[j] += dot(back_[j], s_.keys[j], D);
            add_scaled(d_keys_[j], coordinates[j], back_[j], D);
        }
    }

    // E = K X^T - V: to the keys and the anchor, which is M itself where the segment opens.
    void errors_back(bool opens) {
        product(d_keys_, straight(d_errors_), upright(anchor_), s_.slots, D, V, true);
        product(opens ? d_m_before_ : d_anchor_, turned(s_.keys), d_errors_, D, V, s_.slots, true);
        if (!opens) return;
        for (std::size_t i = 0; i < size(); ++i) d_m_before_.data[i] += d_anchor_.data[i];
        std::memset(d_anchor_[0], 0, size() * sizeof(T));
    }

    // A document that begins here takes the gradient of M to M_0 and lets nothing through.
    void begin_back(int64_t task) {
        transpose(upright_[0], upright_.width, d_m_[0], d_m_.width, D, V);
        T* to = matrix_of(call_, call_.d_initial, task);
        for (int i = 0; i < V; ++i) add_scaled(to + i * D, T(1), upright_[i], D);
        std::memset(d_m_[0], 0, size() * sizeof(T));
        std::memset(d_s_[0], 0, size() * sizeof(T));
    }
};

template <class T>
int backward(const Call<T>& call) {
    auto make = [&] { return std::make_unique<MatrixBack<T>>(call); };
    return each(call.threads, call.batch * call.heads, make, [](MatrixBack<T>& m, int64_t task) { m.backward(task); });
}

}  // namespace kernels
