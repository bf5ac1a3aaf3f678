// Safetensors files: 8 bytes with the length of the header (little-endian), the header in JSON, the data.
//
//   {"name": {"dtype": "F64", "shape": [2, 3], "data_offsets": [0, 48]}, "__metadata__": {...}}
//
// Nothing in a file is believed: lengths, offsets and types are checked before a byte is used. Elements are copied as
// they are, so the machine must be little-endian.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <ios>
#include <iterator>
#include <limits>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "errors.hpp"
#include "json.hpp"
#include "tensor.hpp"

namespace port::safetensors {

constexpr std::size_t prefix = 8;

template <typename Element>
constexpr const char* dtype();
template <>
constexpr const char* dtype<double>() {
    return "F64";
}
template <>
constexpr const char* dtype<float>() {
    return "F32";
}
template <>
constexpr const char* dtype<std::int64_t>() {
    return "I64";
}

// A number from the header that must not be negative.
inline std::size_t natural(const json::Value& value, const std::string& what) {
    const auto* number = value.as<std::int64_t>();
    if (number == nullptr || *number < 0) throw Error(what + " is not a natural number");
    return static_cast<std::size_t>(*number);
}

// The product of two lengths, or an error where it does not fit.
inline std::size_t checked_product(std::size_t a, std::size_t b, const std::string& what) {
    if (b != 0 && a > std::numeric_limits<std::size_t>::max() / b) throw Error(what + ": the shape is too large");
    return a * b;
}

inline std::string bytes_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw Error(path + ": cannot be read");
    return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

struct Extent {
    std::size_t begin;
    std::size_t end;
};

inline Extent extent(const json::Value& entry, const std::string& what) {
    const auto& offsets = json::get<json::Array>(entry, "data_offsets");
    if (offsets.size() != 2) throw Error(what + ": data_offsets are not two numbers");
    return {natural(offsets[0], what + ": an offset"), natural(offsets[1], what + ": an offset")};
}

inline Shape shape_of(const json::Value& entry, const std::string& what) {
    Shape shape;
    for (const json::Value& length : json::get<json::Array>(entry, "shape")) {
        shape.push_back(natural(length, what + ": a length"));
    }
    return shape;
}

// One tensor; its extent is known to lie inside `data`.
template <typename Element>
Tensor<Element> load(Shape shape, Extent where, const char* data, const std::string& what) {
    std::size_t size = sizeof(Element);
    for (const std::size_t length : shape) size = checked_product(size, length, what);
    if (size != where.end - where.begin) throw Error(what + ": the shape does not fit data_offsets");
    Tensor<Element> tensor(std::move(shape));
    if (size != 0) std::memcpy(tensor.data.data(), data + where.begin, size);
    return tensor;
}

inline AnyTensor load_any(const json::Value& entry, Extent where, const char* data, const std::string& what) {
    const auto& type = json::get<std::string>(entry, "dtype");
    Shape shape = shape_of(entry, what);
    if (type == "F64") return load<double>(std::move(shape), where, data, what);
    if (type == "F32") return load<float>(std::move(shape), where, data, what);
    if (type == "I64") return load<std::int64_t>(std::move(shape), where, data, what);
    throw Error(what + ": dtype " + type + ", expected F64, F32 or I64");
}

// The extents must cover the data without a hole and without sharing a byte.
inline void check_cover(std::vector<Extent> extents, std::size_t size, const std::string& path) {
    std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
        return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    std::size_t reached = 0;
    for (const Extent& extent : extents) {
        if (extent.begin != reached || extent.end < extent.begin || extent.end > size) {
            throw Error(path + ": data_offsets overlap, leave a hole or point outside the file");
        }
        reached = extent.end;
    }
    if (reached != size) throw Error(path + ": bytes that belong to no tensor");
}

inline Tensors read(const std::string& path) {
    const std::string bytes = bytes_of(path);
    if (bytes.size() < prefix) throw Error(path + ": too short for a safetensors file");
    std::uint64_t length = 0;
    for (std::size_t i = 0; i < prefix; ++i) {
        length |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
    }
    if (length > bytes.size() - prefix) throw Error(path + ": the header is longer than the file");
    const auto header_size = static_cast<std::size_t>(length);
    const json::Value header = json::parse(bytes.substr(prefix, header_size));
    const auto* entries = header.as<json::Object>();
    if (entries == nullptr) throw Error(path + ": the header is not an object");

    std::vector<Extent> extents;
    for (const json::Member& entry : *entries) {
        if (entry.name != "__metadata__") extents.push_back(extent(entry.value, path + ": '" + entry.name + "'"));
    }
    const char* data = bytes.data() + prefix + header_size;
    check_cover(extents, bytes.size() - prefix - header_size, path);

    Tensors tensors;
    for (const json::Member& entry : *entries) {
        if (entry.name == "__metadata__") continue;
        const std::string what = path + ": '" + entry.name + "'";
        tensors.emplace(entry.name, load_any(entry.value, extent(entry.value, what), data, what));
    }
    return tensors;
}

template <typename Element>
void append(std::string& header, std::string& data, const std::string& name, const Tensor<Element>& tensor) {
    std::string shape;
    for (const std::size_t length : tensor.shape) shape += (shape.empty() ? "" : ",") + std::to_string(length);
    const std::size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size() * sizeof(Element));
    header += (header.size() == 1 ? "" : ",") + json::quote(name) + ":{\"dtype\":\"" + dtype<Element>() +
              "\",\"shape\":[" + shape + "],\"data_offsets\":[" + std::to_string(begin) + "," +
              std::to_string(data.size()) + "]}";
}

inline void write(const std::string& path, const Tensors& tensors) {
    std::string header = "{";
    std::string data;
    for (const auto& [name, any] : tensors) {
        std::visit([&, &key = name](const auto& tensor) { append(header, data, key, tensor); }, any);
    }
    header += "}";
    header.append((prefix - header.size() % prefix) % prefix, ' ');  // Data begins at a multiple of 8 bytes.
    std::string length;
    for (std::size_t i = 0; i < prefix; ++i) length += static_cast<char>(header.size() >> (8 * i) & 0xFF);
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file << length << header << data << std::flush;
    if (!file) throw Error(path + ": cannot be written");
}

}  // namespace port::safetensors
