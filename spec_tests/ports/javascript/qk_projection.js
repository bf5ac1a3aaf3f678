// Q-K projection and its gate: docs/spec/qk_projection.md.
"use strict";

const { Tensor, apply, length, matrix } = require("./tensor.js");

// Pi += k k^T / ||k||^2. The direction is taken first: ||k||^2 itself may overflow or vanish [QK-7].
function addDirection(pi, key) {
  const norm = length(key);
  if (norm === 0) return;
  const direction = key.map((entry) => entry / norm);
  for (let i = 0; i < key.length; ++i) {
    for (let j = 0; j < key.length; ++j) pi.data[i * key.length + j] += direction[i] * direction[j];
  }
}

function qk_projection(call) {
  const queries = call.input("queries", "batch time heads dim");
  const keys = call.input("keys", "batch time heads dim");
  const carry = call.input("carry", "batch heads dim dim");
  const position = call.input("position", "batch time");
  const dim = call.axis("dim");
  const projected = new Tensor(queries.shape);
  const frobenius = new Tensor(queries.shape.slice(0, 3));
  const newCarry = new Tensor(carry.shape);
  for (let row = 0; row < call.axis("batch"); ++row) {
    for (let head = 0; head < call.axis("heads"); ++head) {
      let pi = matrix(dim, dim, carry.vector(row, head));
      for (let t = 0; t < call.axis("time"); ++t) {
        if (position.at(row, t) === 0) pi = matrix(dim, dim); // A new document [QK-3].
        addDirection(pi, keys.vector(row, t, head));
        projected.setVector(apply(pi, queries.vector(row, t, head)), row, t, head);
        frobenius.set(length(pi.data), row, t, head);
      }
      newCarry.setVector(pi.data, row, head);
    }
  }
  call.activation("projected", projected);
  call.state("frobenius", frobenius);
  call.state("carry", newCarry);
}

// tanh(exp(log_gain) projected / (frobenius + 1e-7)) scale, entry by entry [QK-10].
function qk_gate(call) {
  const projected = call.input("projected", "batch time heads dim");
  const frobenius = call.input("frobenius", "batch time heads");
  const logGain = call.input("log_gain", "heads dim");
  const scale = call.input("scale", "heads dim");
  const [heads, dim] = [call.axis("heads"), call.axis("dim")];
  const gated = new Tensor(projected.shape);
  projected.data.forEach((entry, place) => {
    const own = place % (heads * dim);
    const aligned = entry / (frobenius.data[Math.floor(place / dim)] + 1e-7);
    gated.data[place] = Math.tanh(Math.exp(logGain.data[own]) * aligned) * scale.data[own];
  });
  call.activation("gated", gated);
}

module.exports = { qk_projection, qk_gate };
