// An implementation of levels L0 to L3 as a program, written from docs/spec, with nothing but Node itself.
"use strict";

const { act_halt } = require("./act.js");
const { sliding_window_attention } = require("./attention.js");
const { short_conv } = require("./convolution.js");
const { ltm_scan } = require("./ltm.js");
const { m3_mix } = require("./m3.js");
const { mag_gate } = require("./mag_gate.js");
const { memory_chunked } = require("./memory_chunked.js");
const { memory_scan } = require("./memory_scan.js");
const { memory_step } = require("./memory_step.js");
const { circular_fit, fourier_concentration } = require("./metrics.js");
const { newton_schulz } = require("./newton_schulz.js");
const { l2_normalize } = require("./normalize.js");
const { polynomial_features } = require("./polynomial.js");
const { main } = require("./program.js");
const { qk_gate, qk_projection } = require("./qk_projection.js");
const { stablemax } = require("./stablemax.js");

main({
  name: "atlas-javascript",
  version: "0.1",
  operations: {
    newton_schulz,
    polynomial_features,
    l2_normalize,
    short_conv,
    qk_projection,
    qk_gate,
    sliding_window_attention,
    stablemax,
    m3_mix,
    ltm_scan,
    mag_gate,
    act_halt,
    fourier_concentration,
    circular_fit,
    memory_step,
    memory_scan,
    memory_chunked,
  },
});
