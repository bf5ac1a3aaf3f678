// Gate of the MAG block: docs/spec/mag_gate.md.
"use strict";

const { Tensor, sigmoid } = require("./tensor.js");

// `source`: y = g m, g from the attention; `convex`: y = g a + (1 - g) m, g from the logits [MAG-1, MAG-2]; `convex_memory`: y = g m + (1 - g) a [MAG-9];
// `gated_attention`: y = g a, g from the memory; `product`: y = a m, with a for a gate [MAG-7, MAG-8].
function joined_by(kind, floor, a, m, logit) {
  if (kind === "product") return [a, a * m];
  const g = floor + (1 - floor) * sigmoid({ source: a, convex: logit, convex_memory: logit, gated_attention: m }[kind]);
  const shares = { convex: g * a + (1 - g) * m, convex_memory: g * m + (1 - g) * a };
  return [g, { source: g * m, ...shares, gated_attention: g * a }[kind]];
}

function mag_gate(call) {
  const kind = call.choice("kind", ["source", "convex", "convex_memory", "gated_attention", "product"]);
  const floor = call.number("floor");
  const [attention, memory, logits] = ["attention", "memory", "logits"].map((name) => call.input(name, "batch time dim"));
  const gate = new Tensor(attention.shape);
  const joined = new Tensor(attention.shape);
  attention.data.forEach((a, i) => {
    [gate.data[i], joined.data[i]] = joined_by(kind, floor, a, memory.data[i], logits.data[i]);
  });
  call.state("gate", gate);
  call.activation("joined", joined);
}

module.exports = { mag_gate };
