// The process protocol, version 1, around a table of operations.
//
// Without arguments: JSON lines on standard input, one line each on standard output, until `bye`. `run --op OP ...`
// runs one case and ends with 0 (done), 3 (unsupported) or 1 (error, with one sentence on standard error).
"use strict";

const fs = require("node:fs");
const readline = require("node:readline");
const { Call, Unsupported } = require("./call.js");
const safetensors = require("./safetensors.js");

const PRECISIONS = { f64: "F64", f32: "F32", bf16_io: "F32" };

function declaration({ name, version, operations }) {
  return {
    name,
    version,
    language: "JavaScript",
    spec_version: "0.1",
    operations: Object.keys(operations),
    capabilities: [],
    numerics: Object.keys(PRECISIONS),
    matmul_precision: "full",
  };
}

function run({ operations }, { op, numerics, config, taps, in: given, out }) {
  if (!Object.hasOwn(operations, op)) throw new Unsupported(op, `this program has no operation '${op}'`);
  if (!Object.hasOwn(PRECISIONS, numerics)) throw new Unsupported(numerics, `this program has no '${numerics}'`);
  const inputs = safetensors.read(given);
  if ([...inputs.keys()].some((name) => name.startsWith("cotangent."))) {
    throw new Unsupported("gradients", "this program has no gradients");
  }
  const call = new Call({ op, numerics, config, inputs, taps: new Set(taps) });
  operations[op](call);
  safetensors.write(out, call.finish(), PRECISIONS[numerics]);
}

// The answer to one line. Whatever goes wrong in a run is an answer too: the next one must find the program alive.
function answer(program, line) {
  let id = "";
  try {
    const message = JSON.parse(line);
    if (message.cmd === "bye") return null;
    if (message.cmd === "hello") return { protocol: 1, declaration: declaration(program) };
    id = message.id;
    if (message.cmd !== "run") throw new Error(`unknown command '${message.cmd}'`);
    run(program, message);
    return { id, status: "ok" };
  } catch (error) {
    if (error instanceof Unsupported) {
      return { id, status: "unsupported", capability: error.capability, reason: error.message };
    }
    return { id, status: "error", message: error.message };
  }
}

function serve(program) {
  const lines = readline.createInterface({ input: process.stdin, terminal: false });
  lines.on("line", (line) => {
    const reply = answer(program, line);
    if (reply === null) process.exit(0);
    fs.writeSync(1, `${JSON.stringify(reply)}\n`);
  });
}

function runOnce(program, words) {
  const options = {};
  for (let i = 1; i + 1 < words.length; i += 2) options[words[i].replace("--", "")] = words[i + 1];
  try {
    const config = JSON.parse(fs.readFileSync(options.config, "utf8"));
    run(program, { ...options, config, taps: (options.taps ?? "").split(",").filter(Boolean) });
    return 0;
  } catch (error) {
    const unsupported = error instanceof Unsupported;
    process.stderr.write(`${unsupported ? "unsupported" : "error"}: ${error.message}\n`);
    return unsupported ? 3 : 1;
  }
}

// `program` has a name, a version and operations: functions of a Call under their names in the specification.
function main(program) {
  const words = process.argv.slice(2);
  if (words.length === 0) serve(program);
  else process.exitCode = runOnce(program, words);
}

module.exports = { main };
