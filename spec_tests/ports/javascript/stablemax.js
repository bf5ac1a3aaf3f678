// StableMax: docs/spec/stablemax.md.
"use strict";

const { Tensor } = require("./tensor.js");

// s(x_i) / sum_j s(x_j) with s(x) = x + 1 for x >= 0 and 1 / (1 - x) below [STAB-1].
function stablemax(call) {
  const x = call.input("x", "batch dim");
  const probabilities = new Tensor(x.shape);
  for (let n = 0; n < call.axis("batch"); ++n) {
    const shares = x.vector(n).map((entry) => (entry >= 0 ? entry + 1 : 1 / (1 - entry)));
    // Relative to the largest: the plain sum may overflow [STAB-3].
    const largest = shares.reduce((a, b) => Math.max(a, b), 0);
    const relative = shares.map((share) => share / largest);
    const total = relative.reduce((a, b) => a + b, 0);
    probabilities.setVector(relative.map((share) => share / total), n);
  }
  call.activation("probabilities", probabilities);
}

module.exports = { stablemax };
