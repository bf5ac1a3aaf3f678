// Adaptive computation time: docs/spec/act.md.
"use strict";

const { Tensor } = require("./tensor.js");

// N is the first n with h_1 + .. + h_n >= threshold, or the last; the weights are h_1 .. h_{N-1} and the remainder.
function act_halt(call) {
  const threshold = call.number("threshold");
  const probabilities = call.input("probabilities", "batch steps");
  const [batch, steps] = [call.axis("batch"), call.axis("steps")];
  if (steps === 0) throw new Error("act_halt: there is no step at which to halt");
  const halted = new Tensor([batch], null, true);
  const weights = new Tensor(probabilities.shape);
  const ponder = new Tensor([batch]);
  // In single precision the threshold is met, or not, by the sum in single precision.
  const round = call.numerics === "f64" ? (x) => x : Math.fround;
  for (let row = 0; row < batch; ++row) {
    let before = 0; // h_1 + .. + h_{N-1}
    let last = 0;
    while (last + 1 < steps && round(before + probabilities.at(row, last)) < round(threshold)) {
      weights.set(probabilities.at(row, last), row, last);
      before = round(before + probabilities.at(row, last));
      ++last;
    }
    weights.set(1 - before, row, last);
    halted.set(last + 1, row);
    ponder.set(last + 1 + (1 - before), row);
  }
  call.state("halted", halted);
  call.state("weights", weights);
  call.state("ponder", ponder);
}

module.exports = { act_halt };
