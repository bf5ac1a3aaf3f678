// The process protocol, version 1, around a table of operations.
//
// Without arguments the program answers JSON lines on standard input, one line each on standard output, until `bye` or
// the end of input. `run --op OP --numerics N --config FILE --in FILE --out FILE [--taps A,B]` runs one case and exits
// with 0 (done), 3 (unsupported) or 1 (error, with one sentence on standard error).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iostream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "call.hpp"
#include "errors.hpp"
#include "json.hpp"
#include "safetensors.hpp"
#include "tensor.hpp"

namespace port {

// One operation under its name in the specification: in float64, and in float32 for f32 and bf16_io.
struct Operation {
    std::string name;
    void (*in_f64)(Call<double>&);
    void (*in_f32)(Call<float>&);
};

struct Program {
    std::string name;
    std::string version;
    std::vector<Operation> operations;
};

template <typename Real>
Tensors outputs_of(void (*operation)(Call<Real>&), const Request& request) {
    Call<Real> call(request);
    operation(call);
    return call.finish();
}

// Run one operation in the precision asked for; bf16_io computes in float32 and rounds activations on their way out.
inline Tensors run(const Program& program, const Request& request) {
    const auto operation = std::find_if(program.operations.begin(), program.operations.end(),
                                        [&](const Operation& candidate) { return candidate.name == request.op; });
    if (operation == program.operations.end()) {
        throw Unsupported(request.op, "this program has no operation '" + request.op + "'");
    }
    for (const auto& input : request.inputs) {
        if (input.first.rfind("cotangent.", 0) == 0) throw Unsupported("gradients", "this program has no gradients");
    }
    if (request.numerics == "f64") return outputs_of(operation->in_f64, request);
    if (request.numerics == "f32" || request.numerics == "bf16_io") return outputs_of(operation->in_f32, request);
    throw Unsupported(request.numerics, "this program has no precision '" + request.numerics + "'");
}

inline void demand_object(const json::Value& config) {
    if (config.as<json::Object>() == nullptr) throw Error("the configuration is not a JSON object");
}

// ---- the persistent form

inline std::string hello(const Program& program) {
    std::string names;
    for (const Operation& operation : program.operations) {
        names += (names.empty() ? "" : ",") + json::quote(operation.name);
    }
    return R"({"protocol":1,"declaration":{"name":)" + json::quote(program.name) + R"(,"version":)" +
           json::quote(program.version) + R"(,"language":"C++17","spec_version":"0.1","operations":[)" + names +
           R"(],"capabilities":[],"numerics":["f64","f32","bf16_io"],"matmul_precision":"full"}})";
}

inline std::set<std::string> taps_of(const json::Value& message) {
    std::set<std::string> taps;
    for (const json::Value& tap : json::get<json::Array>(message, "taps")) {
        const auto* name = tap.as<std::string>();
        if (name == nullptr) throw Error("the name of a tap is not a string");
        taps.insert(*name);
    }
    return taps;
}

inline void run_message(const Program& program, const json::Value& message) {
    const json::Value* config = json::find(message, "config");
    if (config == nullptr) throw Error("'config' is missing");
    demand_object(*config);
    const Request request{json::get<std::string>(message, "op"), json::get<std::string>(message, "numerics"), *config,
                          safetensors::read(json::get<std::string>(message, "in")), taps_of(message)};
    safetensors::write(json::get<std::string>(message, "out"), run(program, request));
}

// The answer to one line. Whatever goes wrong in a run is an answer too: the next run must find the program alive.
inline std::string answer(const Program& program, const std::string& line) {
    std::string id = "\"\"";  // What the answer carries when the line has no id to repeat.
    try {
        const json::Value message = json::parse(line);
        const json::Value* given = json::find(message, "id");
        if (given != nullptr && given->as<std::string>() != nullptr) id = json::quote(*given->as<std::string>());
        const auto& command = json::get<std::string>(message, "cmd");
        if (command == "hello") {
            if (json::get<std::int64_t>(message, "protocol") != 1) throw Error("this program speaks protocol 1");
            return hello(program);
        }
        if (command != "run") throw Error("unknown command '" + command + "'");
        run_message(program, message);
        return "{\"id\":" + id + R"(,"status":"ok"})";
    } catch (const Unsupported& missing) {
        return "{\"id\":" + id + R"(,"status":"unsupported","capability":)" + json::quote(missing.capability) +
               R"(,"reason":)" + json::quote(missing.what()) + "}";
    } catch (const std::exception& error) {
        return "{\"id\":" + id + R"(,"status":"error","message":)" + json::quote(error.what()) + "}";
    }
}

inline bool is_bye(const std::string& line) {
    try {
        return json::get<std::string>(json::parse(line), "cmd") == "bye";
    } catch (const Error&) {
        return false;
    }
}

inline int serve(const Program& program) {
    for (std::string line; std::getline(std::cin, line) && !is_bye(line);) {
        std::cout << answer(program, line) << '\n' << std::flush;
    }
    return 0;
}

// ---- one case by arguments

inline std::map<std::string, std::string> options(const std::vector<std::string>& arguments) {
    std::map<std::string, std::string> option = {{"--taps", ""}};
    for (std::size_t i = 1; i + 1 < arguments.size(); i += 2) option[arguments[i]] = arguments[i + 1];
    for (const char* name : {"--op", "--numerics", "--config", "--in", "--out"}) {
        if (option.count(name) == 0) throw Error(std::string(name) + " is missing");
    }
    if (arguments[0] != "run" || arguments.size() % 2 == 0 || option.size() != 6) throw Error("unknown arguments");
    return option;
}

inline void run_arguments(const Program& program, const std::vector<std::string>& arguments) {
    const auto option = options(arguments);
    Request request{option.at("--op"), option.at("--numerics"),
                    json::parse(safetensors::bytes_of(option.at("--config"))),
                    safetensors::read(option.at("--in")), {}};
    demand_object(request.config);
    std::istringstream names(option.at("--taps"));
    for (std::string name; std::getline(names, name, ',');) request.taps.insert(name);
    safetensors::write(option.at("--out"), run(program, request));
}

inline int run_once(const Program& program, const std::vector<std::string>& arguments) {
    constexpr int exit_error = 1;
    constexpr int exit_unsupported = 3;
    try {
        run_arguments(program, arguments);
        return 0;
    } catch (const Unsupported& missing) {
        std::cerr << "unsupported: " << missing.what() << '\n';
        return exit_unsupported;
    } catch (const std::exception& error) {
        std::cerr << "error: " << error.what() << '\n';
        return exit_error;
    }
}

inline int main_of(const Program& program, int count, char** arguments) {
    return count == 1 ? serve(program) : run_once(program, {arguments + 1, arguments + count});
}

}  // namespace port
