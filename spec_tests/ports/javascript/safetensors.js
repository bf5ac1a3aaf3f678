// Tensors in safetensors files: eight bytes with the length of a header, the header in JSON, the numbers.
"use strict";

const fs = require("node:fs");
const { Tensor } = require("./tensor.js");

const KINDS = { F64: Float64Array, F32: Float32Array, I64: BigInt64Array };

function read(path) {
  const file = fs.readFileSync(path);
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, start));
  const tensors = new Map();
  for (const [name, { dtype, shape, data_offsets: [begin, end] }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    if (!(dtype in KINDS)) throw new Error(`'${name}' is of type ${dtype}; this program reads F64, F32 and I64`);
    // A copy: the numbers of a typed array begin at a multiple of their size.
    const bytes = Uint8Array.from(file.subarray(start + begin, start + end));
    const numbers = new KINDS[dtype](bytes.buffer);
    tensors.set(name, new Tensor(shape, Float64Array.from(numbers, Number), dtype === "I64"));
  }
  return tensors;
}

// `floats` is F64 or F32, the type of whatever is no index.
function write(path, tensors, floats) {
  const header = {};
  const parts = [];
  let end = 0;
  for (const [name, tensor] of tensors) {
    const dtype = tensor.isIndex ? "I64" : floats;
    const numbers = tensor.isIndex ? BigInt64Array.from(tensor.data, BigInt) : KINDS[floats].from(tensor.data);
    const bytes = Buffer.from(numbers.buffer);
    header[name] = { dtype, shape: tensor.shape, data_offsets: [end, (end += bytes.length)] };
    parts.push(bytes);
  }
  const text = JSON.stringify(header);
  const padded = Buffer.from(text.padEnd(text.length + ((8 - (Buffer.byteLength(text) % 8)) % 8)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  fs.writeFileSync(path, Buffer.concat([length, padded, ...parts]));
}

module.exports = { read, write };
