// An implementation of levels L0 to L3 as a program: the process protocol, version 1, around `port::run`.
//
// Without arguments it answers JSON lines on standard input, one line each on standard output, until `bye` or the end
// of input. `run --op OP --numerics N --config FILE --in FILE --out FILE [--taps A,B]` runs one case and exits with
// 0 (done), 3 (unsupported) or 1 (error, with one sentence on standard error).

#include <exception>
#include <iostream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "errors.hpp"
#include "json.hpp"
#include "operations.hpp"
#include "safetensors.hpp"

namespace {

using port::json::quote;

constexpr int exit_error = 1;
constexpr int exit_unsupported = 3;

std::string hello() {
    std::string names;
    for (const auto& entry : port::operations<double>()) names += (names.empty() ? "" : ",") + quote(entry.first);
    return R"({"protocol":1,"declaration":{"name":"atlas-cpp","version":"0.1","language":"C++17","spec_version":"0.1",)"
           R"("operations":[)" +
           names + R"(],"capabilities":[],"numerics":["f64","f32","bf16_io"],"matmul_precision":"full"}})";
}

std::set<std::string> taps_of(const port::json::Value& message) {
    std::set<std::string> taps;
    if (port::json::find(message, "taps") == nullptr) return taps;
    for (const port::json::Value& tap : port::json::get<port::json::Array>(message, "taps")) {
        const auto* name = tap.as<std::string>();
        if (name == nullptr) throw port::Error("the name of a tap is not a string");
        taps.insert(*name);
    }
    return taps;
}

void run_message(const port::json::Value& message) {
    using port::json::get;
    const port::json::Value* config = port::json::find(message, "config");
    if (config == nullptr || config->as<port::json::Object>() == nullptr) throw port::Error("'config' is no object");
    const port::Request request{get<std::string>(message, "op"), get<std::string>(message, "numerics"), *config,
                                port::safetensors::read(get<std::string>(message, "in")), taps_of(message)};
    port::safetensors::write(get<std::string>(message, "out"), port::run(request));
}

std::string reply(const std::string& id, const std::string& rest) { return "{\"id\":" + id + "," + rest + "}"; }

// The answer to one line. Whatever goes wrong in a run is an answer too: the next run must find the program alive.
std::string answer(const std::string& line) {
    std::string id = "\"\"";  // What the answer carries when the line has no id to repeat.
    try {
        const port::json::Value message = port::json::parse(line);
        const port::json::Value* given = port::json::find(message, "id");
        if (given != nullptr && given->as<std::string>() != nullptr) id = quote(*given->as<std::string>());
        const auto& command = port::json::get<std::string>(message, "cmd");
        if (command == "hello") {
            if (port::json::get<std::int64_t>(message, "protocol") != 1) throw port::Error("this is protocol 1");
            return hello();
        }
        if (command != "run") throw port::Error("unknown command '" + command + "'");
        run_message(message);
        return reply(id, R"("status":"ok")");
    } catch (const port::Unsupported& missing) {
        return reply(id, R"("status":"unsupported","capability":)" + quote(missing.capability) + R"(,"reason":)" +
                             quote(missing.what()));
    } catch (const std::exception& error) {
        return reply(id, R"("status":"error","message":)" + quote(error.what()));
    }
}

bool is_bye(const std::string& line) {
    try {
        return port::json::get<std::string>(port::json::parse(line), "cmd") == "bye";
    } catch (const port::Error&) {
        return false;
    }
}

int serve() {
    for (std::string line; std::getline(std::cin, line) && !is_bye(line);) {
        std::cout << answer(line) << '\n' << std::flush;
    }
    return 0;
}

std::map<std::string, std::string> options(const std::vector<std::string>& arguments) {
    std::map<std::string, std::string> result = {{"--taps", ""}};
    for (std::size_t i = 1; i + 1 < arguments.size(); i += 2) result[arguments[i]] = arguments[i + 1];
    for (const char* name : {"--op", "--numerics", "--config", "--in", "--out"}) {
        if (result.count(name) == 0) throw port::Error(std::string(name) + " is missing");
    }
    if (arguments.size() % 2 == 0 || result.size() != 6) throw port::Error("unknown arguments");
    return result;
}

int run_once(const std::vector<std::string>& arguments) {
    try {
        if (arguments[0] != "run") throw port::Error("expected no arguments or 'run'");
        const auto option = options(arguments);
        port::Request request{option.at("--op"), option.at("--numerics"),
                              port::json::parse(port::safetensors::bytes_of(option.at("--config"))),
                              port::safetensors::read(option.at("--in")), {}};
        if (request.config.as<port::json::Object>() == nullptr) throw port::Error("the config is no object");
        std::istringstream names(option.at("--taps"));
        for (std::string name; std::getline(names, name, ',');) request.taps.insert(name);
        port::safetensors::write(option.at("--out"), port::run(request));
        return 0;
    } catch (const port::Unsupported& missing) {
        std::cerr << "unsupported: " << missing.what() << '\n';
        return exit_unsupported;
    } catch (const std::exception& error) {
        std::cerr << "error: " << error.what() << '\n';
        return exit_error;
    }
}

}  // namespace

int main(int count, char** arguments) {
    std::ios::sync_with_stdio(false);
    return count == 1 ? serve() : run_once({arguments + 1, arguments + count});
}
