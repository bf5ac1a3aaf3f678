// From projected hidden states to queries and keys, and values: convolution, SiLU and l2 norm in one pass.
//
//     y_t = sum_j w[:, K-1-j] x_{t-j} over 0 <= j <= min(K-1, position_t),   a = s y sigmoid(y) / (||.||^2 + eps^2)^{1/2}
//
// for the heads of queries and keys, and y itself for values; s is one number. What a token may not see is not loaded.
#pragma once

#include <cmath>
#include <memory>

#include "exponential.hpp"
#include "rows.hpp"

namespace kernels {

constexpr int64_t BLOCK = 128;  // tokens of a task

// `kernels/cpu_front.py` has the same fields in the same order; tensors are dense in the order of their comments.
template <class T>
struct FrontCall {
    int64_t threads, batch, time, heads, key, value, kernel;
    double eps, scale;
    const T* projected;       // [batch, time, channels]: all queries, all keys, all values
    const T* weight;          // [kernel, channels], the newest age last
    const T* tail;            // [batch, kernel - 1, channels]: the tokens before the call
    const int64_t* position;  // [batch, time]
    T *queries, *keys, *values;  // [batch, time, heads, .]
    const T *d_queries, *d_keys, *d_values;
    T* d_projected;
    T* d_weight;  // [tasks, kernel, channels]
    T* d_tail;
    double* d_scale;  // [tasks]

    int64_t channels() const { return heads * (2 * key + value); }
    int64_t blocks() const { return (time + BLOCK - 1) / BLOCK; }
    int64_t tasks() const { return batch * blocks(); }
};

template <class T>
class Front {
   public:
    explicit Front(const FrontCall<T>& call)
        : call_(call),
          channels_(static_cast<int>(call.channels())),
          unit_channels_(static_cast<int>(2 * call.heads * call.key)),
          y_(work_.row(channels_)),
          share_(work_.row(channels_)),
          d_y_(work_.rows(BLOCK + call.kernel - 1, channels_)) {}

    void forward(int64_t task) {
        const int64_t row = task / call_.blocks(), first = task % call_.blocks() * BLOCK;
        for (int64_t t = first; t < std::min(call_.time, first + BLOCK); ++t) {
            filter(row, t, 0, channels_);
            shares();
            for (int64_t head = 0; head < 2 * call_.heads; ++head)
                unit(static_cast<int>(head * call_.key), address(call_.queries, call_.keys, row, t, head));
            std::memcpy(call_.values + (row * call_.time + t) * call_.heads * call_.value, y_ + unit_channels_,
                        (channels_ - unit_channels_) * sizeof(T));
        }
    }

    void backward(int64_t task) {
        const int64_t row = task / call_.blocks(), first = task % call_.blocks() * BLOCK;
        const int64_t last = std::min(call_.time, first + BLOCK), reach = call_.kernel - 1;
        T* d_weight = call_.d_weight + task * call_.kernel * channels_;
        call_.d_scale[task] = 0;
        std::memset(d_weight, 0, call_.kernel * channels_ * sizeof(T));
        for (int64_t t = first; t < std::min(call_.time, last + reach); ++t) {
            const double along = filtered_back(row, t, d_y_[static_cast<int>(t - first)]);
            if (t >= last) continue;
            call_.d_scale[task] += along;
            weight_back(row, t, d_y_[static_cast<int>(t - first)], d_weight);
        }
        // The tail stands before the call: its tokens are -(K-1) to -1, and the first block has them.
        for (int64_t t = first == 0 ? -reach : first; t < last; ++t) input_back(row, t, first);
    }

   private:
    const FrontCall<T>& call_;
    Workspace<T> work_;
    const int channels_, unit_channels_;
    T *y_, *share_;
    Rows<T> d_y_;

    const T* input(int64_t row, int64_t t) const {
        return t < 0 ? call_.tail + (row * (call_.kernel - 1) + t + call_.kernel - 1) * channels_
                     : call_.projected + (row * call_.time + t) * channels_;
    }

    // Ages that token t of a row looks at.
    int64_t ages(int64_t row, int64_t t) const {
        return std::min(call_.kernel, call_.position[row * call_.time + t] + 1);
    }

    const T* weight(int64_t age) const { return call_.weight + (call_.kernel - 1 - age) * channels_; }

    void filter(int64_t row, int64_t t, int from, int to) {
        const int64_t seen = ages(row, t);
        const T *__restrict x = input(row, t), *__restrict w = weight(0);
        T* __restrict y = y_;
#pragma omp simd
        for (int i = from; i < to; ++i) y[i] = w[i] * x[i];
        for (int64_t age = 1; age < seen; ++age) {
            const T *__restrict older = input(row, t - age), *__restrict by = weight(age);
#pragma omp simd
            for (int i = from; i < to; ++i) y[i] += by[i] * older[i];
        }
    }

    // sigmoid(y) of queries and keys.
    void shares() {
        T* __restrict share = share_;
        const T* __restrict y = y_;
#pragma omp simd
        for (int i = 0; i < unit_channels_; ++i) share[i] = T(1) / (T(1) + exponential(-y[i]));
    }

    // 1 / (||y sigmoid(y)||^2 + eps^2)^{1/2} of one head: double holds every square of a float.
    double inverse_length(int first) const {
        const T *__restrict y = y_ + first, *__restrict share = share_ + first;
        double sum = call_.eps * call_.eps;
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < call_.key; ++i) {
            const double z = y[i] * share[i];
            sum += z * z;
        }
        return 1.0 / std::sqrt(sum);
    }

    // Where a head of queries, or behind them of keys, stands.
    template <class Number>
    Number* address(Number* queries, Number* keys, int64_t row, int64_t t, int64_t head) const {
        Number* all = head < call_.heads ? queries : keys;
        return all + ((row * call_.time + t) * call_.heads + head % call_.heads) * call_.key;
    }

    void unit(int first, T* __restrict to) {
        const T factor = static_cast<T>(call_.scale * inverse_length(first));
        const T *__restrict y = y_ + first, *__restrict share = share_ + first;
#pragma omp simd
        for (int i = 0; i < call_.key; ++i) to[i] = y[i] * share[i] * factor;
    }

    // Set the gradient of y at token t and return its part of that of the scale.
    double filtered_back(int64_t row, int64_t t, T* d_y) {
        filter(row, t, 0, unit_channels_);
        shares();
        double d_scale = 0;
        for (int64_t head = 0; head < 2 * call_.heads; ++head) {
            const int first = static_cast<int>(head * call_.key);
            const T *__restrict y = y_ + first, *__restrict share = share_ + first;
            const T* __restrict d = address(call_.d_queries, call_.d_keys, row, t, head);
            T* __restrict to = d_y + first;
            double along = 0;
#pragma omp simd reduction(+ : along)
            for (int i = 0; i < call_.key; ++i) along += static_cast<double>(y[i] * share[i]) * d[i];
            const double inverse = inverse_length(first);
            d_scale += along * inverse;
            const T factor = static_cast<T>(call_.scale * inverse);
            const T back = static_cast<T>(call_.scale * along * inverse * inverse * inverse);
#pragma omp simd
            for (int i = 0; i < call_.key; ++i) {
                const T d_z = factor * d[i] - back * (y[i] * share[i]);
                to[i] = d_z * share[i] * (T(1) + y[i] * (T(1) - share[i]));
            }
        }
        const T* values = call_.d_values + (row * call_.time + t) * call_.heads * call_.value;
        std::memcpy(d_y + unit_channels_, values, (channels_ - unit_channels_) * sizeof(T));
        return d_scale;
    }

    void weight_back(int64_t row, int64_t t, const T* d_y, T* d_weight) {
        for (int64_t age = 0; age < ages(row, t); ++age) {
            const T *__restrict x = input(row, t - age), *__restrict d = d_y;
            T* __restrict to = d_weight + (call_.kernel - 1 - age) * channels_;
#pragma omp simd
            for (int i = 0; i < channels_; ++i) to[i] += d[i] * x[i];
        }
    }

    // The gradient of the input at t, from the tokens behind it that look at it.
    void input_back(int64_t row, int64_t t, int64_t first) {
        T* __restrict to = t < 0 ? call_.d_tail + (row * (call_.kernel - 1) + t + call_.kernel - 1) * channels_
                                 : call_.d_projected + (row * call_.time + t) * channels_;
        std::memset(to, 0, channels_ * sizeof(T));
        for (int64_t age = 0; age < call_.kernel; ++age) {
            const int64_t later = t + age;
            if (later < 0 || later >= call_.time || age >= ages(row, later)) continue;
            const T *__restrict d = d_y_[static_cast<int>(later - first)], *__restrict w = weight(age);
#pragma omp simd
            for (int i = 0; i < channels_; ++i) to[i] += w[i] * d[i];
        }
    }
};

template <class T>
int front_forward(const FrontCall<T>& call) {
    auto make = [&] { return std::make_unique<Front<T>>(call); };
    return each(call.threads, call.tasks(), make, [](Front<T>& front, int64_t task) { front.forward(task); });
}

template <class T>
int front_backward(const FrontCall<T>& call) {
    auto make = [&] { return std::make_unique<Front<T>>(call); };
    return each(call.threads, call.tasks(), make, [](Front<T>& front, int64_t task) { front.backward(task); });
}

}  // namespace kernels
