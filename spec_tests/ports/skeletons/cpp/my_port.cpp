// A port as a program. The next operation is a function and a line in `main`; `atlas port table` has its arrays.
#include <cmath>
#include <cstddef>
#include <utility>

#include "program.hpp"

// y = x / sqrt(||x||^2 + eps^2), docs/spec/normalize.md. std::hypot neither overflows nor underflows.
template <typename Real>
void l2_normalize(port::Call<Real>& call) {
    const Real eps = static_cast<Real>(call.number("eps"));
    const port::Tensor<Real>& x = call.input("x", "batch dim");
    port::Tensor<Real> y(x.shape);
    for (std::size_t n = 0; n < call.axis("batch"); ++n) {
        Real length = eps;
        for (std::size_t i = 0; i < call.axis("dim"); ++i) length = std::hypot(length, x(n, i));
        for (std::size_t i = 0; i < call.axis("dim"); ++i) y(n, i) = x(n, i) / length;
    }
    call.activation("y", std::move(y));
}

int main(int count, char** arguments) {
    const port::Program program{"my-port",
                                "0.1",
                                {
                                    {"l2_normalize", l2_normalize, l2_normalize},
                                }};
    return port::main_of(program, count, arguments);
}
