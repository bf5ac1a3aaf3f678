// How a memory writes: the configuration and the table of docs/spec/memory_step.md.
"use strict";

const { SETS, coefficientsOf } = require("./newton_schulz.js");

// The slope of Newton-Schulz at zero: the product of the linear coefficients of its steps.
function slope(set, steps) {
  let product = 1;
  for (let step = 0; step < steps; ++step) product *= coefficientsOf(set, step)[0];
  return product;
}

function readRule(call) {
  const name = call.choice("rule", ["titans", "omega", "delta", "atlas", "atlas_appendix"]);
  const momentumMax = call.number("momentum_max");
  if (!(momentumMax >= 0 && momentumMax < 1)) throw call.unknownValue("momentum_max");
  const rule = {
    mlp: call.choice("architecture", ["matrix", "mlp"]) === "mlp",
    stepInMomentum: name === "titans" || name === "atlas_appendix",
    orthogonalise: name === "atlas" || name === "atlas_appendix",
    withoutMomentum: name === "delta",
    truncate: call.choice("boundary", ["carry", "truncate"]) === "truncate",
    readBefore: call.choice("read", ["post", "pre"]) === "pre",
    mass: call.choice("step_scale", ["literal", "mass"]) === "mass",
    lossScale: call.number("loss_scale"),
    horizon: name === "delta" ? 0 : momentumMax / (1 - momentumMax),
    chunk: call.integer("chunk", 1),
    coefficients: call.choice("coefficients", SETS),
    steps: call.integer("newton_schulz_steps", 0),
  };
  rule.offset = rule.mass ? slope(rule.coefficients, rule.steps) : 1e-7;
  return rule;
}

// The factors of S <- decay S + intake g and M <- alpha M + release U(S), and what stands before each gamma, with the
// substitutions of `mass` [RULE-9].
function factors(rule, token) {
  const decay = rule.withoutMomentum ? 0 : token.decay;
  const step = rule.mass ? token.step / (rule.chunk + rule.horizon) : token.step;
  const share = rule.mass ? 1 - decay : 1;
  const gradient = rule.mass ? 1 / token.window.length : 1;
  if (rule.stepInMomentum) return { decay, intake: -step * share, release: 1, gradient };
  return { decay, intake: share, release: -step, gradient };
}

module.exports = { readRule, factors };
