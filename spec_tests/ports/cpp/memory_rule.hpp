// How a memory writes: the configuration and the table of docs/spec/memory_step.md.
#pragma once

#include <cstddef>
#include <string>

#include "call.hpp"
#include "newton_schulz.hpp"

namespace port {

struct Rule {
    bool mlp;                  // W, or W1 and W2
    bool step_in_momentum;     // titans, atlas_appendix: the step size stands in the momentum, not before the write
    bool orthogonalise;        // atlas, atlas_appendix: U is Newton-Schulz
    bool without_momentum;     // delta: theta = 0
    bool truncate;             // the window stops at the first token of the chunk
    bool read_before;          // `pre`
    bool mass;                 // steps normalised by mass [RULE-9]
    double loss_scale;
    double horizon;            // h
    std::size_t chunk;         // b
    std::string coefficients;  // of Newton-Schulz
    std::size_t steps;
    double offset;             // what is added to the norm before Newton-Schulz
};

// The slope of Newton-Schulz at zero: the product of the linear coefficients of its steps.
inline double slope(const std::string& set, std::size_t steps) {
    double product = 1;
    for (std::size_t step = 0; step < steps; ++step) product *= coefficients_of(set, step).a;
    return product;
}

template <typename Real>
Rule read_rule(Call<Real>& call) {
    const std::string name = call.choice("rule", {"titans", "omega", "delta", "atlas", "atlas_appendix"});
    const double momentum_max = call.number("momentum_max");
    if (!(momentum_max >= 0 && momentum_max < 1)) throw call.unknown_value("momentum_max");
    Rule rule{};
    rule.mlp = call.choice("architecture", {"matrix", "mlp"}) == "mlp";
    rule.step_in_momentum = name == "titans" || name == "atlas_appendix";
    rule.orthogonalise = name == "atlas" || name == "atlas_appendix";
    rule.without_momentum = name == "delta";
    rule.truncate = call.choice("boundary", {"carry", "truncate"}) == "truncate";
    rule.read_before = call.choice("read", {"post", "pre"}) == "pre";
    rule.mass = call.choice("step_scale", {"literal", "mass"}) == "mass";
    rule.loss_scale = call.number("loss_scale");
    rule.horizon = rule.without_momentum ? 0 : momentum_max / (1 - momentum_max);
    rule.chunk = call.integer("chunk", 1);
    rule.coefficients = call.choice("coefficients", coefficient_sets());
    rule.steps = call.integer("newton_schulz_steps", 0);
    rule.offset = rule.mass ? slope(rule.coefficients, rule.steps) : 1e-7;
    return rule;
}

}  // namespace port
