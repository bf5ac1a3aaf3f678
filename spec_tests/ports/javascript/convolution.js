// Short causal convolution, one filter a channel: docs/spec/convolution.md.
"use strict";

const { Tensor } = require("./tensor.js");

// y_t = sum_j w[:, K-1-j] x_{t-j} over 0 <= j <= min(K-1, position_t); inputs before the call stand in the tail.
function short_conv(call) {
  const x = call.input("x", "batch time channels");
  const weight = call.input("weight", "channels kernel");
  const tail = call.input("tail", "batch kernel-1 channels");
  const position = call.input("position", "batch time");
  const past = call.axis("kernel") - 1;
  const y = new Tensor(x.shape);
  const newTail = new Tensor(tail.shape);
  for (let row = 0; row < call.axis("batch"); ++row) {
    for (let channel = 0; channel < call.axis("channels"); ++channel) {
      // The tail and the inputs in one line: token t stands at `past + t`.
      const line = (i) => (i < past ? tail.at(row, i, channel) : x.at(row, i - past, channel));
      for (let t = 0; t < call.axis("time"); ++t) {
        let sum = 0;
        for (let age = 0; age <= Math.min(past, position.at(row, t)); ++age) {
          sum += weight.at(channel, past - age) * line(past + t - age);
        }
        y.set(sum, row, t, channel);
      }
      for (let i = 0; i < past; ++i) newTail.set(line(call.axis("time") + i), row, i, channel);
    }
  }
  call.activation("y", y);
  call.state("tail", newTail);
}

module.exports = { short_conv };
