// An array with a shape, its elements in row-major order, and the vectors along its last axis.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace port {

template <typename Real>
using Vector = std::vector<Real>;

using Shape = std::vector<std::size_t>;

inline std::size_t elements(const Shape& shape) {
    std::size_t product = 1;
    for (const std::size_t length : shape) product *= length;
    return product;
}

template <typename Element>
struct Tensor {
    Shape shape;
    std::vector<Element> data;

    Tensor() = default;
    explicit Tensor(Shape lengths) : shape(std::move(lengths)), data(elements(shape)) {}

    // The element at a full index.
    template <typename... Index>
    Element& operator()(Index... index) {
        return data[offset(index...)];
    }
    template <typename... Index>
    const Element& operator()(Index... index) const {
        return data[offset(index...)];
    }

    // A copy of the vector along the last axis, at an index of all other axes.
    template <typename... Index>
    std::vector<Element> vector(Index... index) const {
        const auto width = static_cast<std::ptrdiff_t>(shape.back());
        const auto first = data.begin() + static_cast<std::ptrdiff_t>(offset(index...)) * width;
        return std::vector<Element>(first, first + width);
    }

    // Write a vector along the last axis.
    template <typename... Index>
    void set_vector(const std::vector<Element>& values, Index... index) {
        const std::size_t first = offset(index...) * shape.back();
        for (std::size_t i = 0; i < values.size(); ++i) data[first + i] = values[i];
    }

private:
    template <typename... Index>
    std::size_t offset(Index... index) const {
        std::size_t result = 0;
        std::size_t axis = 0;
        ((result = result * shape[axis++] + index), ...);
        return result;
    }
};

using Indices = Tensor<std::int64_t>;
using AnyTensor = std::variant<Tensor<double>, Tensor<float>, Indices>;
using Tensors = std::map<std::string, AnyTensor>;

}  // namespace port
