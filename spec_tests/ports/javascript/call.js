// One run of one operation: its configuration, inputs and outputs, each checked where an operation asks for it.
//
// What the request holds and the operation did not ask for makes the run unsupported, so no operation can overlook a
// configuration key. Axes have names: a name that appears twice has one length, and "window-1" is one less.
"use strict";

class Unsupported extends Error {
  constructor(capability, reason) {
    super(reason);
    this.capability = capability;
  }
}

// The nearest bfloat16, ties to even: the upper half of the bits of a float32. NaN stays NaN.
const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

function roundToBf16(x) {
  float[0] = x;
  if (Number.isNaN(x)) return x;
  bits[0] = (bits[0] + 0x7fff + ((bits[0] >>> 16) & 1)) & 0xffff0000;
  return float[0];
}

class Call {
  constructor({ op, numerics, config, inputs, taps }) {
    Object.assign(this, { op, numerics, config, inputs, taps });
    this.outputs = new Map();
    this.lengths = new Map();
    this.known = new Set();
  }

  // ---- configuration

  value(key) {
    this.known.add(`key ${key}`);
    if (!Object.hasOwn(this.config, key)) throw new Error(`${this.op}: configuration key '${key}' is missing`);
    return this.config[key];
  }

  choice(key, names) {
    const value = this.value(key);
    if (!names.includes(value)) throw this.unknownValue(key);
    return value;
  }

  integer(key, least) {
    const value = this.value(key);
    if (!Number.isSafeInteger(value) || value < least) throw this.unknownValue(key);
    return value;
  }

  number(key) {
    const value = this.value(key);
    if (typeof value !== "number") throw this.unknownValue(key);
    return value;
  }

  unknownValue(key) {
    return new Unsupported(this.op, `${this.op}: this program does not know the value of '${key}'`);
  }

  // ---- arrays

  fixLength(axis, length) {
    this.lengths.set(axis, length);
  }

  axis(name) {
    return this.lengths.get(name);
  }

  input(name, axes) {
    this.known.add(`input ${name}`);
    const tensor = this.inputs.get(name);
    if (tensor === undefined) throw new Error(`${this.op}: input '${name}' is missing`);
    const words = axes.split(" ").filter(Boolean);
    const fits = words.length === tensor.shape.length && words.every((axis, i) => this.fits(axis, tensor.shape[i]));
    if (!fits) throw new Error(`${this.op}: the shape [${tensor.shape}] of '${name}' does not fit [${axes}]`);
    return tensor;
  }

  fits(axis, length) {
    const [name, less] = axis.split("-");
    const whole = length + Number(less ?? 0);
    if (!this.lengths.has(name)) this.lengths.set(name, whole);
    return this.lengths.get(name) === whole;
  }

  // An output in the model's own precision: in bf16_io a bfloat16 number.
  activation(name, tensor) {
    if (this.numerics === "bf16_io") tensor.data = tensor.data.map(roundToBf16);
    this.outputs.set(name, tensor);
  }

  // An output in the full precision of the run: state, norms, taps, indices.
  state(name, tensor) {
    this.outputs.set(name, tensor);
  }

  // The outputs, once everything in the request has been asked for.
  finish() {
    const given = [...Object.keys(this.config).map((key) => `key ${key}`)];
    for (const name of this.inputs.keys()) given.push(`input ${name}`);
    const strange = given.find((name) => !this.known.has(name));
    if (strange) throw new Unsupported(this.op, `${this.op}: this program does not know the ${strange}`);
    return this.outputs;
  }
}

module.exports = { Call, Unsupported, roundToBf16 };
