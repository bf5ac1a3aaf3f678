// The parallel form: docs/spec/memory_chunked.md.
//
// All gradients of a chunk are taken at one xi, so each pair is evaluated once, and every S_i and M_t follows from the
// state before the chunk by a sum [CHUNK-3].
"use strict";

const { addScaled } = require("./tensor.js");
const { begin, runMemory } = require("./memory_call.js");
const { factors } = require("./memory_rule.js");

// x_i = (prod_{l <= i} decay_l) x + sum_{j <= i} (prod_{j < l <= i} decay_l) factor_j y_j, for every i by itself.
function unrolled(x, decay, factor, y) {
  return y.map((_, i) => {
    const sum = new Float64Array(x.length);
    let product = 1;
    for (let j = i; j >= 0; --j) {
      addScaled(sum, product * factor[j], y[j]);
      product *= decay[j];
    }
    addScaled(sum, product, x);
    return sum;
  });
}

// The windowed gradients of consecutive tokens of one chunk, all at its xi. `pairs` ends with the tokens' own.
function windowGradients(model, rule, tokens, cell, pairs, each) {
  const gradients = pairs.map(({ key, value }) => model.gradient(cell.anchor, key, value));
  return tokens.map((token, i) => {
    const position = cell.position + i;
    const reach = rule.truncate ? position % rule.chunk : position;
    const own = pairs.length - tokens.length + i;
    const sum = new Float64Array(cell.anchor.length);
    for (let age = 0; age <= Math.min(reach, token.window.length - 1); ++age) {
      addScaled(sum, each[i].gradient * token.window[age], gradients[own - age]);
    }
    return sum;
  });
}

// Consecutive tokens of one document in one chunk; returns their reads and leaves the cell behind the last.
function runChunk(model, rule, tokens, cell) {
  const pairs = [...cell.window, ...tokens];
  const each = tokens.map((token) => factors(rule, token));
  const column = (name) => each.map((factor) => factor[name]);
  const gradients = windowGradients(model, rule, tokens, cell, pairs, each);
  const momenta = unrolled(cell.momentum, column("decay"), column("intake"), gradients);
  const updates = momenta.map((momentum) => model.update(momentum));
  const retention = tokens.map((token) => token.retention);
  const weights = unrolled(cell.weights, retention, column("release"), updates);
  const before = [cell.weights, ...weights];
  const reads = tokens.map((token, i) => model.predict(before[rule.readBefore ? i : i + 1], token.query));
  const kept = Math.min(pairs.length, tokens[0].window.length - 1);
  cell.window = pairs.slice(pairs.length - kept);
  cell.momentum = momenta[momenta.length - 1];
  cell.weights = weights[weights.length - 1];
  cell.position += tokens.length;
  return reads;
}

// Chunks are counted from the first token of the document [CHUNK-2]; a call may begin and end inside one.
function chunked(model, rule, tokens, initial, cell) {
  const reads = [];
  for (let first = 0, end; first < tokens.length; first = end) {
    if (tokens[first].reset || cell.position === 0) begin(cell, initial);
    const phase = cell.position % rule.chunk;
    if (phase === 0) cell.anchor = cell.weights.slice();
    end = first + 1;
    while (end < tokens.length && end - first < rule.chunk - phase && !tokens[end].reset) ++end;
    reads.push(...runChunk(model, rule, tokens.slice(first, end), cell));
  }
  return { reads };
}

function memory_chunked(call) {
  runMemory(call, chunked, [], true);
}

module.exports = { memory_chunked };
