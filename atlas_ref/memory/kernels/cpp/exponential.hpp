// The exponential as a compiler can compute it in whole registers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace kernels {

// e^x by 2^n e^r with |r| <= ln(2) / 2 and the series of e^r.
inline float exponential(float x) {
    x = std::min(std::max(x, -87.0f), 88.0f);
    const float n = __builtin_nearbyintf(x * 1.44269504f);
    const float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float sum = 1.9875691500e-4f;
    for (const float term : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 0.5f})
        sum = sum * r + term;
    sum = sum * r * r + r + 1.0f;
    union { int32_t bits; float value; } power{(static_cast<int32_t>(n) + 127) << 23};
    return sum * power.value;
}

inline double exponential(double x) { return std::exp(x); }

}  // namespace kernels
