// The memory operations as calls: tokens and state in, reads and state out, one row and head at a time.
"use strict";

const { Tensor } = require("./tensor.js");
const { Model } = require("./memory_model.js");
const { readRule } = require("./memory_rule.js");

const TOKENS = {
  keys: "heads features",
  values: "heads values",
  queries: "heads features",
  retention: "heads",
  momentum_decay: "heads",
  step_size: "heads",
  window_weights: "heads window",
  reset: "",
};
const STATE = {
  weights: "batch heads parameters",
  momentum: "batch heads parameters",
  anchor: "batch heads parameters",
  window_keys: "batch window-1 heads features",
  window_values: "batch window-1 heads values",
  position: "batch",
};

// Run `form(model, rule, tokens, initial, cell)` on the tokens of every row and head; a call that has no axis of time
// gets one of length 1. `taps` names what the form can show.
function runMemory(call, form, taps, hasTime) {
  const rule = readRule(call);
  const lead = hasTime ? "batch time " : "batch ";
  const tokens = {};
  for (const [name, axes] of Object.entries(TOKENS)) {
    const given = call.input(name, `${lead}${axes}`.trim());
    tokens[name] = hasTime ? given : new Tensor([given.shape[0], 1, ...given.shape.slice(1)], given.data);
  }
  const initial = call.input("initial", "heads parameters");
  const state = {};
  for (const [name, axes] of Object.entries(STATE)) state[name] = call.input(name, axes).copy();

  const [batch, heads, time] = [call.axis("batch"), call.axis("heads"), tokens.keys.shape[1]];
  const model = new Model(rule, call.axis("values"), call.axis("features"), call.axis("parameters"));
  const parameters = [batch, time, heads, call.axis("parameters")];
  const shown = { reads: new Tensor(tokens.values.shape) };
  for (const name of ["gradient", "momentum_trace", "weights_trace"]) shown[name] = new Tensor(parameters);
  for (let row = 0; row < batch; ++row) {
    let position = state.position.at(row);
    for (let head = 0; head < heads; ++head) {
      const cell = load(state, row, head);
      const trace = form(model, rule, tokensOf(tokens, time, row, head), initial.vector(head), cell);
      for (const [name, values] of Object.entries(trace)) {
        values.forEach((value, t) => shown[name].setVector(value, row, t, head));
      }
      // Without tokens the state goes on as it came, whatever it holds [MEM-7].
      if (time > 0) store(state, cell, row, head);
      position = cell.position;
    }
    state.position.set(position, row);
  }
  const withoutTime = (tensor) => (hasTime ? tensor : new Tensor([batch, ...tensor.shape.slice(2)], tensor.data));
  call.activation("reads", withoutTime(shown.reads));
  for (const [name, tensor] of Object.entries(state)) call.state(name, tensor);
  for (const name of taps.filter((tap) => call.taps.has(tap))) call.state(name, withoutTime(shown[name]));
}

function tokensOf(tokens, time, row, head) {
  return Array.from({ length: time }, (_, t) => ({
    key: tokens.keys.vector(row, t, head),
    value: tokens.values.vector(row, t, head),
    query: tokens.queries.vector(row, t, head),
    retention: tokens.retention.at(row, t, head),
    decay: tokens.momentum_decay.at(row, t, head),
    step: tokens.step_size.at(row, t, head),
    window: tokens.window_weights.vector(row, t, head),
    reset: tokens.reset.at(row, t) !== 0,
  }));
}

// The memory of one row and head; the window holds the last pairs of the document, oldest first. Places of the window
// that are older than the document are not taken over, whatever they hold.
function load(state, row, head) {
  const places = state.window_keys.shape[1];
  const position = state.position.at(row);
  const window = [];
  for (let i = places - Math.min(places, position); i < places; ++i) {
    window.push({ key: state.window_keys.vector(row, i, head), value: state.window_values.vector(row, i, head) });
  }
  const [weights, momentum, anchor] = ["weights", "momentum", "anchor"].map((name) => state[name].vector(row, head));
  return { weights, momentum, anchor, window, position };
}

// Zeros stand in the places of tokens that the document does not have [MEM-6].
function store(state, cell, row, head) {
  for (const name of ["weights", "momentum", "anchor"]) state[name].setVector(cell[name], row, head);
  const places = state.window_keys.shape[1];
  const empty = places - cell.window.length;
  for (let i = 0; i < places; ++i) {
    const pair = i < empty ? null : cell.window[i - empty];
    state.window_keys.setVector(pair?.key ?? new Float64Array(state.window_keys.shape[3]), row, i, head);
    state.window_values.setVector(pair?.value ?? new Float64Array(state.window_values.shape[3]), row, i, head);
  }
}

// A document begins: M = M_0, S = 0, an empty window [MEM-5].
function begin(cell, initial) {
  cell.weights = initial.slice();
  cell.momentum = new Float64Array(initial.length);
  cell.window = [];
  cell.position = 0;
}

module.exports = { runMemory, begin };
