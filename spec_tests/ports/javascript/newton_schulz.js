// Newton-Schulz: docs/spec/newton_schulz.md.
"use strict";

const { Tensor, addScaled, length, matrix, multiply, transpose } = require("./tensor.js");

const SETS = ["quintic", "cubic", "polar_express"];
// arXiv 2505.16932. All but the last are for x / 1.01.
const POLAR_EXPRESS = [
  [8.28721201814563, -23.595886519098837, 17.300387312530933],
  [4.107059111542203, -2.9478499167379106, 0.5448431082926601],
  [3.9486908534822946, -2.908902115962949, 0.5518191394370137],
  [3.3184196573706015, -2.488488024314874, 0.51004894012372],
  [2.300652019954817, -1.6689039845747493, 0.4188073119525673],
  [1.891301407787398, -1.2679958271945868, 0.37680408948524835],
  [1.8750014808534479, -1.2500016453999487, 0.3750001645474248],
  [1.875, -1.25, 0.375],
];

// The coefficients of one step of a set; beyond the end of a set its last step repeats [NS-1].
function coefficientsOf(set, step) {
  if (set === "quintic") return [3.4445, -4.775, 2.0315];
  if (set === "cubic") return [1.5, -0.5, 0];
  if (step + 1 >= POLAR_EXPRESS.length) return POLAR_EXPRESS[POLAR_EXPRESS.length - 1];
  const [a, b, c] = POLAR_EXPRESS[step];
  return [a / 1.01, b / 1.01 ** 3, c / 1.01 ** 5];
}

// What a start divides by: the norm times a factor, and the offset added to it or, clamped, the larger of the two.
const ADDED = { factor: 1, clamped: false };

// X <- a X + (b A + c A^2) X with A = X X^T, `steps` times from X = G / (||G||_F + offset); the smaller side is left.
function newtonSchulz(g, set, steps, offset = 1e-7, start = ADDED) {
  if (g.rows > g.columns) return transpose(newtonSchulz(transpose(g), set, steps, offset, start)); // [NS-2]
  const size = start.factor * length(g.data);
  const norm = start.clamped ? Math.max(size, offset) : size + offset;
  let x = matrix(g.rows, g.columns, g.data.map((entry) => entry / norm));
  for (let step = 0; step < steps; ++step) {
    const [a, b, c] = coefficientsOf(set, step);
    const gram = multiply(x, transpose(x));
    const square = multiply(gram, gram);
    const polynomial = matrix(g.rows, g.rows, square.data.map((entry, i) => b * gram.data[i] + c * entry));
    const next = multiply(polynomial, x);
    addScaled(next.data, a, x.data);
    x = next;
  }
  return x;
}

function newton_schulz(call) {
  const set = call.choice("coefficients", [...SETS, "polar_express_paper"]);
  const clamped = call.choice("start", ["add", "clamp"]) === "clamp";
  const start = { factor: set === "polar_express_paper" ? 1.01 : 1, clamped };
  const steps = call.integer("steps", 0);
  const given = call.input("matrix", "batch rows columns");
  const orthogonal = new Tensor(given.shape);
  for (let n = 0; n < call.axis("batch"); ++n) {
    const g = matrix(call.axis("rows"), call.axis("columns"), given.vector(n));
    orthogonal.setVector(newtonSchulz(g, set, steps, 1e-7, start).data, n);
  }
  call.state("orthogonal", orthogonal);
}

module.exports = { newton_schulz, newtonSchulz, coefficientsOf, SETS };
