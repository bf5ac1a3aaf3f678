// Sliding-window attention with persistent tokens: docs/spec/attention.md.
"use strict";

const { Tensor, addScaled, dot } = require("./tensor.js");

// sum_i softmax(q.k_i / sqrt(dim))_i v_i [ATT-1]; the largest score is subtracted so that no exponential overflows.
function attend(query, keys, values) {
  const scores = keys.map((key) => dot(query, key) / Math.sqrt(query.length));
  const largest = Math.max(...scores);
  const result = new Float64Array(query.length);
  let total = 0;
  scores.forEach((score, i) => {
    const weight = Math.exp(score - largest);
    addScaled(result, weight, values[i]);
    total += weight;
  });
  return result.map((entry) => entry / total);
}

function sliding_window_attention(call) {
  const past = call.integer("window", 1) - 1;
  call.fixLength("window", past + 1);
  const [queries, keys, values] = ["queries", "keys", "values"].map((name) => call.input(name, "batch time heads dim"));
  const tokens = { keys: call.input("persistent_keys", "tokens heads dim") };
  tokens.values = call.input("persistent_values", "tokens heads dim");
  const cache = { keys: call.input("cache_keys", "batch window-1 heads dim") };
  cache.values = call.input("cache_values", "batch window-1 heads dim");
  const position = call.input("position", "batch time");
  const time = call.axis("time");

  const output = new Tensor(queries.shape);
  const next = { keys: new Tensor(cache.keys.shape), values: new Tensor(cache.values.shape) };
  for (let row = 0; row < call.axis("batch"); ++row) {
    for (let head = 0; head < call.axis("heads"); ++head) {
      // The cache and the tokens in one line: token t stands at `past + t`.
      const line = (cached, own, i) => (i < past ? cached.vector(row, i, head) : own.vector(row, i - past, head));
      for (let t = 0; t < time; ++t) {
        const seen = { keys: [], values: [] };
        for (let i = 0; i < call.axis("tokens"); ++i) {
          seen.keys.push(tokens.keys.vector(i, head));
          seen.values.push(tokens.values.vector(i, head));
        }
        for (let age = 0; age <= Math.min(past, position.at(row, t)); ++age) { // [ATT-3]
          seen.keys.push(line(cache.keys, keys, past + t - age));
          seen.values.push(line(cache.values, values, past + t - age));
        }
        output.setVector(attend(queries.vector(row, t, head), seen.keys, seen.values), row, t, head);
      }
      for (let i = 0; i < past; ++i) {
        next.keys.setVector(line(cache.keys, keys, time + i), row, i, head);
        next.values.setVector(line(cache.values, values, time + i), row, i, head);
      }
    }
  }
  call.activation("output", output);
  call.state("cache_keys", next.keys);
  call.state("cache_values", next.values);
}

module.exports = { sliding_window_attention };
