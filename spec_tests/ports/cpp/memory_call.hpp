// The memory operations as calls: tokens and state in, reads and state out, one row and head at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "call.hpp"
#include "memory_model.hpp"
#include "memory_rule.hpp"
#include "tensor.hpp"

namespace port {

template <typename Real>
struct Pair {
    Vector<Real> key;
    Vector<Real> value;
};

// What one row and head sees at one time.
template <typename Real>
struct Token {
    Pair<Real> pair;
    Vector<Real> query;
    Real retention;       // alpha
    Real decay;           // theta
    Real step;            // eta
    Vector<Real> window;  // gamma by age
    bool reset;
};

// The memory of one row and head. The window holds the last pairs of the document, oldest first.
template <typename Real>
struct Cell {
    Vector<Real> weights;   // M
    Vector<Real> momentum;  // S
    Vector<Real> anchor;    // xi
    std::deque<Pair<Real>> window;
    std::size_t position;  // tokens of the document so far

    // A document begins: M = M_0, S = 0, an empty window [MEM-5].
    void begin(const Vector<Real>& initial) {
        weights = initial;
        momentum = Vector<Real>(initial.size());
        window.clear();
        position = 0;
    }
};

// What a form of the memory gives for each token; the last two are shown as taps.
template <typename Real>
struct Trace {
    std::vector<Vector<Real>> reads;
    std::vector<Vector<Real>> gradient;
    std::vector<Vector<Real>> momentum;
    std::vector<Vector<Real>> weights;
};

template <typename Real>
struct Factors {
    Real decay;    // theta in S <- theta S + intake g
    Real intake;
    Real release;  // in M <- alpha M + release U(S)
    Real gradient;  // before each gamma
};

// The table of chapter RULE, with the substitutions of `mass` [RULE-9].
template <typename Real>
Factors<Real> factors(const Rule& rule, const Token<Real>& token) {
    const Real decay = rule.without_momentum ? 0 : token.decay;
    Real step = token.step;
    Real share = 1;
    Real gradient = 1;
    if (rule.mass) {
        step /= static_cast<Real>(static_cast<double>(rule.chunk) + rule.horizon);
        share = 1 - decay;
        gradient /= static_cast<Real>(token.window.size());
    }
    if (rule.step_in_momentum) return {decay, -step * share, 1, gradient};
    return {decay, share, -step, gradient};
}

// The tokens of a call that has no axis of time get one of length 1.
template <typename Real>
class MemoryCall {
public:
    MemoryCall(Call<Real>& call, bool has_time) : rule(read_rule(call)), call_(call), has_time_(has_time) {
        keys_ = sequence(call.input("keys", axes("heads features")));
        values_ = sequence(call.input("values", axes("heads values")));
        queries_ = sequence(call.input("queries", axes("heads features")));
        retention_ = sequence(call.input("retention", axes("heads")));
        decay_ = sequence(call.input("momentum_decay", axes("heads")));
        step_ = sequence(call.input("step_size", axes("heads")));
        window_ = sequence(call.input("window_weights", axes("heads window")));
        reset_ = sequence(call.indices("reset", axes("")));
        initial_ = call.input("initial", "heads parameters");
        weights_ = call.input("weights", "batch heads parameters");
        momentum_ = call.input("momentum", "batch heads parameters");
        anchor_ = call.input("anchor", "batch heads parameters");
        window_keys_ = call.input("window_keys", "batch window-1 heads features");
        window_values_ = call.input("window_values", "batch window-1 heads values");
        position_ = call.indices("position", "batch");
        time_ = keys_.shape[1];
    }

    // Run `form` on the tokens of every row and head and hand over reads and state.
    template <typename Form>
    void run(Form form, const std::vector<std::string>& taps) {
        const Model<Real> model(rule, call_.axis("values"), call_.axis("features"), call_.axis("parameters"));
        const Shape token_shape = {call_.axis("batch"), time_, call_.axis("heads")};
        Tensor<Real> reads(values_.shape);
        const Shape parameters = {token_shape[0], time_, token_shape[2], call_.axis("parameters")};
        Tensor<Real> gradient(parameters), momentum(parameters), weights(parameters);
        for (std::size_t row = 0; row < token_shape[0]; ++row) {
            std::size_t position = 0;
            for (std::size_t head = 0; head < token_shape[2]; ++head) {
                Cell<Real> cell = load(row, head);
                const Trace<Real> trace = form(model, rule, tokens(row, head), initial_.vector(head), cell);
                write(reads, trace.reads, row, head);
                write(gradient, trace.gradient, row, head);
                write(momentum, trace.momentum, row, head);
                write(weights, trace.weights, row, head);
                store(cell, row, head);
                position = cell.position;
            }
            if (token_shape[2] != 0) position_(row) = static_cast<std::int64_t>(position);
        }
        call_.activation("reads", without_time(std::move(reads)));
        finish();
        for (const std::string& tap : taps) {
            if (!call_.wants_tap(tap)) continue;
            Tensor<Real>& shown = tap == "gradient" ? gradient : tap == "momentum_trace" ? momentum : weights;
            call_.state(tap, without_time(std::move(shown)));
        }
    }

    const Rule rule;

private:
    std::string axes(const std::string& rest) const { return (has_time_ ? "batch time " : "batch ") + rest; }

    template <typename Element>
    Tensor<Element> sequence(Tensor<Element> tensor) const {
        if (!has_time_) tensor.shape.insert(tensor.shape.begin() + 1, 1);
        return tensor;
    }

    Tensor<Real> without_time(Tensor<Real> tensor) const {
        if (!has_time_) tensor.shape.erase(tensor.shape.begin() + 1);
        return tensor;
    }

    static void write(Tensor<Real>& tensor, const std::vector<Vector<Real>>& values, std::size_t row,
                      std::size_t head) {
        for (std::size_t t = 0; t < values.size(); ++t) tensor.set_vector(values[t], row, t, head);
    }

    std::vector<Token<Real>> tokens(std::size_t row, std::size_t head) const {
        std::vector<Token<Real>> result;
        for (std::size_t t = 0; t < time_; ++t) {
            result.push_back({{keys_.vector(row, t, head), values_.vector(row, t, head)},
                              queries_.vector(row, t, head),
                              retention_(row, t, head),
                              decay_(row, t, head),
                              step_(row, t, head),
                              window_.vector(row, t, head),
                              reset_(row, t) != 0});
        }
        return result;
    }

    // Places of the window that are older than the document are not taken over, whatever they hold.
    Cell<Real> load(std::size_t row, std::size_t head) const {
        const std::size_t places = window_keys_.shape[1];
        const auto position = static_cast<std::size_t>(position_(row));
        Cell<Real> cell{weights_.vector(row, head), momentum_.vector(row, head), anchor_.vector(row, head), {},
                        position};
        for (std::size_t i = places - std::min(places, position); i < places; ++i) {
            cell.window.push_back({window_keys_.vector(row, i, head), window_values_.vector(row, i, head)});
        }
        return cell;
    }

    // Zeros stand in the places of tokens that the document does not have [MEM-6]. Without tokens the state goes on as it
    // came, whatever it holds [MEM-7].
    void store(const Cell<Real>& cell, std::size_t row, std::size_t head) {
        if (time_ == 0) return;
        weights_.set_vector(cell.weights, row, head);
        momentum_.set_vector(cell.momentum, row, head);
        anchor_.set_vector(cell.anchor, row, head);
        const std::size_t places = window_keys_.shape[1];
        const std::size_t empty = places - cell.window.size();
        for (std::size_t i = 0; i < places; ++i) {
            const bool zero = i < empty;
            window_keys_.set_vector(zero ? Vector<Real>(keys_.shape[3]) : cell.window[i - empty].key, row, i, head);
            window_values_.set_vector(zero ? Vector<Real>(values_.shape[3]) : cell.window[i - empty].value, row, i,
                                      head);
        }
    }

    void finish() {
        call_.state("weights", std::move(weights_));
        call_.state("momentum", std::move(momentum_));
        call_.state("anchor", std::move(anchor_));
        call_.state("window_keys", std::move(window_keys_));
        call_.state("window_values", std::move(window_values_));
        call_.state("position", std::move(position_));
    }

    Call<Real>& call_;
    bool has_time_;
    std::size_t time_ = 0;
    Tensor<Real> keys_, values_, queries_, retention_, decay_, step_, window_;
    Indices reset_, position_;
    Tensor<Real> initial_, weights_, momentum_, anchor_, window_keys_, window_values_;
};

}  // namespace port
