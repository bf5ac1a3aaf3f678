// The two ways in which a run can end without an answer.
#pragma once

#include <stdexcept>
#include <string>

namespace port {

// The request is broken: bad JSON, a bad file, a missing or misshapen array. Answered with status "error".
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The request is sound but this program does not do it. Answered with status "unsupported"; never guess instead.
struct Unsupported : std::runtime_error {
    Unsupported(std::string what_is_missing, const std::string& reason)
        : std::runtime_error(reason), capability(std::move(what_is_missing)) {}

    std::string capability;
};

}  // namespace port
