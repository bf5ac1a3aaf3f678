// One run of one operation: its configuration, inputs and outputs, each checked where an operation asks for it.
//
// Whatever the request holds that the operation did not ask for makes the run unsupported, so an operation cannot
// overlook a configuration key. Axes have names: a name that appears twice has one length, and "window-1" is one less.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "errors.hpp"
#include "json.hpp"
#include "tensor.hpp"

namespace port {

struct Request {
    std::string op;
    std::string numerics;
    json::Value config;
    Tensors inputs;
    std::set<std::string> taps;
};

// The nearest bfloat16, ties to even: the upper half of the bits of a float. NaN stays NaN.
inline float round_to_bf16(float x) {
    if (x != x) return x;
    std::uint32_t bits = 0;
    std::memcpy(&bits, &x, sizeof bits);
    bits += 0x7FFFu + (bits >> 16 & 1u);
    bits &= 0xFFFF0000u;
    std::memcpy(&x, &bits, sizeof bits);
    return x;
}

template <typename Real>
class Call {
public:
    explicit Call(const Request& request) : request_(request), rounded_(request.numerics == "bf16_io") {}

    // ---- configuration

    // One of the names that the operation knows.
    std::string choice(const std::string& key, const std::vector<std::string>& known) {
        const json::Value& value = config(key);
        const auto* name = value.as<std::string>();
        if (name != nullptr) {
            for (const std::string& candidate : known) {
                if (candidate == *name) return *name;
            }
        }
        throw unknown_value(key);
    }

    // An integer that is at least `least`.
    std::size_t integer(const std::string& key, std::int64_t least) {
        const json::Value& value = config(key);
        const auto* number = value.as<std::int64_t>();
        if (number == nullptr || *number < least) throw unknown_value(key);
        return static_cast<std::size_t>(*number);
    }

    double number(const std::string& key) {
        const json::Value& value = config(key);
        if (const auto* real = value.as<double>()) return *real;
        if (const auto* whole = value.as<std::int64_t>()) return static_cast<double>(*whole);
        throw unknown_value(key);
    }

    Unsupported unknown_value(const std::string& key) const {
        return {request_.op, request_.op + ": this program does not know the value of '" + key + "'"};
    }

    // ---- arrays

    const Tensor<Real>& input(const std::string& name, const std::string& axes) { return take<Real>(name, axes); }

    const Indices& indices(const std::string& name, const std::string& axes) {
        const Indices& tensor = take<std::int64_t>(name, axes);
        for (const std::int64_t index : tensor.data) {
            if (index < 0) throw Error(request_.op + ": '" + name + "' holds a negative number");
        }
        return tensor;
    }

    // Fix the length of an axis before any array shows it.
    void fix_length(const std::string& axis, std::size_t length) { lengths_[axis] = length; }

    std::size_t axis(const std::string& name) const { return lengths_.at(name); }

    // ---- outputs

    // An output in the model's own precision: in bf16_io a bfloat16 value.
    void activation(const std::string& name, Tensor<Real> tensor) {
        if (rounded_) {
            for (Real& element : tensor.data) element = static_cast<Real>(round_to_bf16(static_cast<float>(element)));
        }
        outputs_[name] = std::move(tensor);
    }

    // An output in the full precision of the run: state, norms, taps.
    template <typename Element>
    void state(const std::string& name, Tensor<Element> tensor) {
        outputs_[name] = std::move(tensor);
    }

    bool wants_tap(const std::string& name) const { return request_.taps.count(name) != 0; }

    // The outputs, once everything in the request has been asked for.
    const Tensors& finish() const {
        if (const auto* members = request_.config.template as<json::Object>()) {
            for (const json::Member& member : *members) demand_known(member.name, "configuration key");
        }
        for (const auto& entry : request_.inputs) demand_known(entry.first, "input");
        return outputs_;
    }

private:
    const json::Value& config(const std::string& key) {
        asked_.insert("configuration key " + key);
        const json::Value* value = json::find(request_.config, key);
        if (value == nullptr) throw Error(request_.op + ": configuration key '" + key + "' is missing");
        return *value;
    }

    template <typename Element>
    const Tensor<Element>& take(const std::string& name, const std::string& axes) {
        asked_.insert("input " + name);
        const auto found = request_.inputs.find(name);
        if (found == request_.inputs.end()) throw Error(request_.op + ": input '" + name + "' is missing");
        const auto* tensor = std::get_if<Tensor<Element>>(&found->second);
        if (tensor == nullptr) throw Error(request_.op + ": input '" + name + "' is of the wrong type");
        check_axes(name, tensor->shape, axes);
        return *tensor;
    }

    void check_axes(const std::string& name, const Shape& shape, const std::string& axes) {
        std::istringstream words(axes);
        std::size_t place = 0;
        for (std::string axis; words >> axis; ++place) {
            const std::size_t dash = axis.find('-');
            const std::size_t less = dash == std::string::npos ? 0 : std::stoul(axis.substr(dash + 1));
            const bool fits = place < shape.size();
            const std::size_t found = fits ? shape[place] + less : 0;
            if (!fits || lengths_.emplace(axis.substr(0, dash), found).first->second != found) {
                throw Error(request_.op + ": the shape of '" + name + "' does not fit [" + axes + "]");
            }
        }
        if (place != shape.size()) throw Error(request_.op + ": '" + name + "' has too many axes for [" + axes + "]");
    }

    void demand_known(const std::string& name, const std::string& kind) const {
        if (asked_.count(kind + " " + name) == 0) {
            throw Unsupported(request_.op, request_.op + ": this program does not know the " + kind + " '" + name + "'");
        }
    }

    const Request& request_;
    bool rounded_;
    std::map<std::string, std::size_t> lengths_;
    std::set<std::string> asked_;
    Tensors outputs_;
};

}  // namespace port
