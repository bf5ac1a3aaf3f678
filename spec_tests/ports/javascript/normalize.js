// Normalisation of vectors: docs/spec/normalize.md.
"use strict";

const { Tensor, length } = require("./tensor.js");

// y = x / sqrt(||x||^2 + eps^2) [NORM-1].
function l2_normalize(call) {
  const eps = call.number("eps");
  const x = call.input("x", "batch dim");
  const y = new Tensor(x.shape);
  for (let n = 0; n < call.axis("batch"); ++n) {
    const divisor = length([length(x.vector(n)), eps]);
    y.setVector(x.vector(n).map((entry) => entry / divisor), n);
  }
  call.activation("y", y);
}

module.exports = { l2_normalize };
