// One token of the memory: docs/spec/memory_step.md. A scan of one token, without the axis of time.
"use strict";

const { runMemory } = require("./memory_call.js");
const { scan } = require("./memory_scan.js");

function memory_step(call) {
  runMemory(call, scan, ["gradient"], false);
}

module.exports = { memory_step };
