// M3 state mixing: docs/spec/m3.md.
"use strict";

const { Tensor, sigmoid } = require("./tensor.js");

// The share is 0.1 + 0.4 n / warmup while n < warmup, then sigmoid(logit) [M3-1].
function m3_mix(call) {
  const warmup = call.integer("warmup_crossings", 0);
  const previous = call.input("previous", "batch rows columns");
  const initial = call.input("initial", "rows columns");
  const crossings = call.input("crossings", "batch");
  const logit = call.input("alpha_logit", "").data[0];
  const mixing = new Tensor([call.axis("batch")]);
  const mixed = new Tensor(previous.shape);
  for (let row = 0; row < call.axis("batch"); ++row) {
    const n = crossings.at(row);
    const share = n < warmup ? 0.1 + (0.4 * n) / warmup : sigmoid(logit);
    mixing.set(share, row);
    mixed.setVector(previous.vector(row).map((entry, i) => share * entry + (1 - share) * initial.data[i]), row);
  }
  call.state("mixing", mixing);
  call.state("mixed", mixed);
}

module.exports = { m3_mix };
