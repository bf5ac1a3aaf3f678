// Running-mean memory: docs/spec/ltm.md.
"use strict";

const { Tensor } = require("./tensor.js");

// m_t = d m_{t-1} + (1 - d) x_t, from zero at the first token of a document [LTM-1, LTM-2].
function ltm_scan(call) {
  const decay = call.number("decay");
  const x = call.input("x", "batch time dim");
  const carry = call.input("carry", "batch dim");
  const position = call.input("position", "batch time");
  const y = new Tensor(x.shape);
  const newCarry = new Tensor(carry.shape);
  for (let row = 0; row < call.axis("batch"); ++row) {
    let mean = carry.vector(row);
    for (let t = 0; t < call.axis("time"); ++t) {
      if (position.at(row, t) === 0) mean = new Float64Array(mean.length);
      const token = x.vector(row, t);
      mean = mean.map((entry, i) => decay * entry + (1 - decay) * token[i]);
      y.setVector(mean, row, t);
    }
    newCarry.setVector(mean, row);
  }
  call.activation("y", y);
  call.state("carry", newCarry);
}

module.exports = { ltm_scan };
