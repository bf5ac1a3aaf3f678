// One segment of one row and head: its tiles, and the coordinates of S_t and M_t in what it knows at once.
//
//     U[t] = theta_t U[t-1] + intake_t [G[t] / max(1, kappa), 0],       S_t = sum_i U[t, i] e_i k_i^T + U[t, S] S
//     W[t] = alpha_t W[t-1] + release_t [U[t], 0],                      M_t = sum_i W[t, i] e_i k_i^T + W[t, S] S + W[t, M] M
//
// `memory/segments.py` has the same. Row t + 1 of U and W is that of token t; row 0 is before the segment.
#pragma once

#include "call.hpp"
#include "product.hpp"

namespace kernels {

template <class T>
class Segment {
   public:
    const Call<T>& call;
    const int D, V, past, most, most_slots;
    Rows<T> keys, values, queries, errors;  // slots, and queries of tokens
    Rows<T> U, W, dU, dW;
    T *share, *kappa, *d_share;  // 1 / max(1, kappa) and kappa of each slot
    int64_t row = 0, head = 0, n = 0, start = 0;
    int tokens = 0, slots = 0;  // of this segment, empty slots left out
    int unseen = 0;             // slots, the first ones, that the segment may not see

    Segment(const Call<T>& asked, Workspace<T>& work)
        : call(asked),
          D(static_cast<int>(asked.features)),
          V(static_cast<int>(asked.values)),
          past(static_cast<int>(asked.past)),
          most(static_cast<int>(asked.width)),
          most_slots(static_cast<int>(asked.slots())),
          keys(work.rows(most_slots, D)),
          values(work.rows(most_slots, V)),
          queries(work.rows(most, D)),
          errors(work.rows(most_slots, V)),
          U(work.rows(most + 1, most_slots + 2)),
          W(work.rows(most + 1, most_slots + 2)),
          dU(work.rows(most + 1, most_slots + 2)),
          dW(work.rows(most + 1, most_slots + 2)),
          share(work.row(most_slots)),
          kappa(work.row(most_slots)),
          d_share(work.row(most_slots)) {}

    // Where the coordinates of S and of M stand.
    int of_s() const { return slots; }
    int of_m() const { return slots + 1; }

    // Token i sees as many slots, up to its own.
    int seen_by(int i) const { return past + i + 1; }

    // Of a matrix with a row for each token and a column for each slot, of its transpose, and of one that is made.
    Extent seen() const { return {-FAR, past + 1, FAR}; }
    Extent seeing() const { return {-past, FAR, FAR}; }
    Extent wanted() const { return {-FAR, FAR, past + 1}; }

    int64_t gate(int i) const { return (row * call.time + start + i) * call.heads + head; }

    // Load the tokens of a segment; what it may not see is zero, whatever it holds.
    void load(int64_t of_row, int64_t of_head, int64_t number) {
        row = of_row, head = of_head, n = number;
        start = call.entry(0, row, n), tokens = call.entry(1, row, n), slots = past + tokens;
        const int position = call.entry(2, row, n);
        const int64_t oldest = call.chunk ? position % call.chunk : position;
        unseen = static_cast<int>(std::max<int64_t>(0, past - oldest));
        std::memset(keys[0], 0, unseen * keys.width * sizeof(T));
        std::memset(values[0], 0, unseen * values.width * sizeof(T));
        for (int j = unseen; j < slots; ++j) {
            std::memcpy(keys[j], of_slot(j, call.keys, call.key_strides, call.window_keys, D), D * sizeof(T));
            std::memcpy(values[j], of_slot(j, call.value_rows, call.value_strides, call.window_values, V), V * sizeof(T));
        }
        const int64_t* q = call.query_strides;
        for (int i = 0; i < tokens; ++i)
            std::memcpy(queries[i], call.queries + row * q[0] + (start + i) * q[1] + head * q[2], D * sizeof(T));
    }

    // The curvature of the matrix memory, and the shares.
    void squares() {
        for (int j = 0; j < slots; ++j) kappa[j] = dot(keys[j], keys[j], D);
        shares();
    }

    // What the gradient of each slot is multiplied by. Not std::max: a NaN is handed on.
    void shares() {
        for (int j = 0; j < slots; ++j) share[j] = !call.normalised || kappa[j] < T(1) ? T(1) : T(1) / kappa[j];
    }

    void squares_back(const Rows<T>& d_keys) {
        if (!call.normalised) return;
        for (int j = 0; j < slots; ++j)
            if (kappa[j] >= T(1)) add_scaled(d_keys[j], T(-2) * d_share[j] * share[j] * share[j], keys[j], D);
    }

    // U and W, row by row.
    void coordinates() {
        std::memset(U[0], 0, U.width * sizeof(T));
        std::memset(W[0], 0, W.width * sizeof(T));
        U[0][of_s()] = 1, W[0][of_m()] = 1;
        const int window = past + 1;
        for (int i = 0; i < tokens; ++i) {
            const int64_t g = gate(i);
            const T alpha = call.retention[g], theta = call.momentum[g], intake = call.intake[g], release = call.release[g];
            const T* gamma = call.gamma + g * window;
            T* __restrict u = U[i + 1];
            scale_to(u, theta, U[i], U.width);
            for (int age = 0; age < window; ++age) u[past + i - age] += intake * gamma[age] * share[past + i - age];
            T* __restrict w = W[i + 1];
            const T* __restrict before = W[i];
#pragma omp simd
            for (int j = 0; j < W.width; ++j) w[j] = alpha * before[j] + release * u[j];
        }
    }

    // Forget the adjoint of the coordinates before that of a segment is made.
    void forget() {
        std::memset(dU.data, 0, (tokens + 1) * dU.width * sizeof(T));
        std::memset(dW.data, 0, (tokens + 1) * dW.width * sizeof(T));
        std::memset(d_share, 0, slots * sizeof(T));
    }

    // From dU and dW to the gradients of gates, window weights and shares: the recurrence backwards.
    void coordinates_back() {
        const int window = past + 1, wide = slots + 2;
        for (int i = tokens - 1; i >= 0; --i) {
            const int64_t g = gate(i);
            const T alpha = call.retention[g], theta = call.momentum[g], intake = call.intake[g], release = call.release[g];
            const T *__restrict w = dW[i + 1], *__restrict u_now = U[i + 1], *__restrict u_old = U[i], *__restrict w_old = W[i];
            T *__restrict u = dU[i + 1], *__restrict u_before = dU[i], *__restrict w_before = dW[i];
            T d_alpha = 0, d_release = 0, d_theta = 0;
#pragma omp simd reduction(+ : d_alpha, d_release, d_theta)
            for (int j = 0; j < wide; ++j) {
                const T both = u[j] + release * w[j];
                d_alpha += w[j] * w_old[j];
                d_release += w[j] * u_now[j];
                d_theta += both * u_old[j];
                w_before[j] += alpha * w[j];
                u_before[j] += theta * both;
                u[j] = both;
            }
            T d_intake = 0;
            for (int age = 0; age < window; ++age) {
                const int j = past + i - age;
                const T gamma = call.gamma[g * window + age];
                d_intake += u[j] * gamma * share[j];
                call.d_gamma[g * window + age] = u[j] * intake * share[j];
                d_share[j] += u[j] * intake * gamma;
            }
            call.d_retention[g] = d_alpha, call.d_momentum[g] = d_theta;
            call.d_intake[g] = d_intake, call.d_release[g] = d_release;
        }
    }

    // What the error of each slot at the anchor is: K X^T - V.
    void errors_at(const Rows<T>& anchor) {
        product(errors, straight(keys), anchor, slots, V, D);
        for (int j = 0; j < slots; ++j) add_scaled(errors[j], T(-1), values[j], V);
    }

    // Hand over the squared error of each slot; the first segment may have empty ones in front.
    void report() {
        if (call.errors == nullptr) return;
        T* to = call.errors + ((n * call.batch + row) * call.heads + head) * call.slots() + (n == 0 ? call.front : 0);
        for (int j = 0; j < slots; ++j) to[j] = dot(errors[j], errors[j], V);
    }

    // Hand the gradients of the slots to their tokens; a slot that is not seen has none. From the last segment to the
    // first: a token before all that later ones saw has none yet.
    void give_back(const Rows<T>& d_keys, const Rows<T>& d_errors) {
        const int64_t stride = call.heads, keys_dense[3] = {call.time * stride * D, stride * D, D},
                      values_dense[3] = {call.time * stride * V, stride * V, V};
        if (n == call.segments - 1) given_from_ = call.time;
        const int64_t oldest = start - past;
        for (int j = unseen; j < slots; ++j) {
            T* to_keys = of_slot(j, call.d_keys, keys_dense, call.d_window_keys, D);
            T* to_values = of_slot(j, call.d_values, values_dense, call.d_window_values, V);
            if (oldest + j >= 0 && oldest + j < given_from_) {
                scale_to(to_keys, T(1), d_keys[j], D);
                scale_to(to_values, T(-1), d_errors[j], V);
            } else {
                add_scaled(to_keys, T(1), d_keys[j], D);
                add_scaled(to_values, T(-1), d_errors[j], V);
            }
        }
        given_from_ = std::min(given_from_, oldest + unseen);
    }

   private:
    int64_t given_from_ = 0;  // from this token on all have gradients of keys and values

    // Where slot j stands: in the call, or in the window before it, which is dense.
    template <class Number>
    Number* of_slot(int j, Number* tokens, const int64_t* strides, Number* window, int length) const {
        const int64_t t = start + j - past;
        if (t < 0) return window + ((row * past + t + past) * call.heads + head) * length;
        return tokens + row * strides[0] + t * strides[1] + head * strides[2];
    }
};

}  // namespace kernels
