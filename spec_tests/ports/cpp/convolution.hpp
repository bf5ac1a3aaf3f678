// Short causal convolution, one filter a channel: docs/spec/convolution.md.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include "call.hpp"
#include "tensor.hpp"

namespace port {

// y_t = sum_j w[:, K-1-j] x_{t-j} over 0 <= j <= min(K-1, position_t); inputs before the call stand in the tail.
template <typename Real>
void run_short_conv(Call<Real>& call) {
    const Tensor<Real>& x = call.input("x", "batch time channels");
    const Tensor<Real>& weight = call.input("weight", "channels kernel");
    const Tensor<Real>& tail = call.input("tail", "batch kernel-1 channels");
    const Indices& position = call.indices("position", "batch time");
    const std::size_t past = call.axis("kernel") - 1;
    const std::size_t time = call.axis("time");

    Tensor<Real> y(x.shape);
    Tensor<Real> new_tail(tail.shape);
    for (std::size_t row = 0; row < call.axis("batch"); ++row) {
        for (std::size_t channel = 0; channel < call.axis("channels"); ++channel) {
            // The tail and the inputs in one line: token t stands at `past + t`.
            const auto line = [&](std::size_t i) {
                return i < past ? tail(row, i, channel) : x(row, i - past, channel);
            };
            for (std::size_t t = 0; t < time; ++t) {
                const std::size_t oldest = std::min(past, static_cast<std::size_t>(position(row, t)));
                for (std::size_t age = 0; age <= oldest; ++age) {
                    y(row, t, channel) += weight(channel, past - age) * line(past + t - age);
                }
            }
            for (std::size_t i = 0; i < past; ++i) new_tail(row, i, channel) = line(time + i);
        }
    }
    call.activation("y", std::move(y));
    call.state("tail", std::move(new_tail));
}

}  // namespace port
