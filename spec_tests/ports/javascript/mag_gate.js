// Gate of the MAG block: docs/spec/mag_gate.md.
"use strict";

const { Tensor, sigmoid } = require("./tensor.js");

// `source`: y = g m, g from the attention; `convex`: y = g a + (1 - g) m, g from the logits [MAG-1, MAG-2].
function mag_gate(call) {
  const convex = call.choice("kind", ["source", "convex"]) === "convex";
  const floor = call.number("floor");
  const [attention, memory, logits] = ["attention", "memory", "logits"].map((name) => call.input(name, "batch time dim"));
  const gate = new Tensor(attention.shape);
  const joined = new Tensor(attention.shape);
  attention.data.forEach((a, i) => {
    const g = floor + (1 - floor) * sigmoid(convex ? logits.data[i] : a);
    gate.data[i] = g;
    joined.data[i] = convex ? g * a + (1 - g) * memory.data[i] : g * memory.data[i];
  });
  call.state("gate", gate);
  call.activation("joined", joined);
}

module.exports = { mag_gate };
