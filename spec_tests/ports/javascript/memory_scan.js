// The recurrence, token by token: docs/spec/memory_scan.md, memory_window.md and memory_step.md.
//
//   reset, if the token begins a document; xi <- M, if its position is a multiple of b; write; read     [MEM-1]
"use strict";

const { addScaled } = require("./tensor.js");
const { begin, runMemory } = require("./memory_call.js");
const { factors } = require("./memory_rule.js");

// g = sum over ages a of gamma[a] grad(xi; k_{t-a}, v_{t-a}). The window ends with the token's own pair.
function windowGradient(model, rule, token, cell, factor) {
  const reach = rule.truncate ? cell.position % rule.chunk : cell.position; // [WIN-2, WIN-4]
  const sum = new Float64Array(cell.anchor.length);
  for (let age = 0; age <= Math.min(reach, token.window.length - 1); ++age) {
    const pair = cell.window[cell.window.length - 1 - age];
    addScaled(sum, factor * token.window[age], model.gradient(cell.anchor, pair.key, pair.value));
  }
  return sum;
}

// decay x + factor y
function advanced(x, decay, factor, y) {
  return x.map((entry, i) => decay * entry + factor * y[i]);
}

function scan(model, rule, tokens, initial, cell) {
  const trace = { reads: [], gradient: [], momentum_trace: [], weights_trace: [] };
  for (const token of tokens) {
    if (token.reset || cell.position === 0) begin(cell, initial);
    if (cell.position % rule.chunk === 0) cell.anchor = cell.weights.slice();
    if (rule.readBefore) trace.reads.push(model.predict(cell.weights, token.query));

    cell.window.push({ key: token.key, value: token.value });
    const { decay, intake, release, gradient } = factors(rule, token);
    const g = windowGradient(model, rule, token, cell, gradient);
    cell.momentum = advanced(cell.momentum, decay, intake, g);
    cell.weights = advanced(cell.weights, token.retention, release, model.update(cell.momentum));
    if (cell.window.length === token.window.length) cell.window.shift();
    ++cell.position;

    if (!rule.readBefore) trace.reads.push(model.predict(cell.weights, token.query));
    trace.gradient.push(g);
    trace.momentum_trace.push(cell.momentum);
    trace.weights_trace.push(cell.weights);
  }
  return trace;
}

function memory_scan(call) {
  runMemory(call, scan, ["gradient", "momentum_trace", "weights_trace"], true);
}

module.exports = { memory_scan, scan };
