// A port as a program. The next operation is a function and a name in `main`; `atlas port table` has its arrays.
"use strict";

const { main } = require("./program.js");
const { Tensor, length } = require("./tensor.js");

// y = x / sqrt(||x||^2 + eps^2), docs/spec/normalize.md. `length` neither overflows nor underflows.
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

main({ name: "my-port", version: "0.1", operations: { l2_normalize } });
