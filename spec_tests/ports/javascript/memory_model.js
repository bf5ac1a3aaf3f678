// The function that a memory is, and the gradient of one pair: docs/spec/memory_scan.md [MEM-3], memory_step.md
// [RULE-6], memory_mass.md [RULE-10]. The matrices of a memory stand in one vector: W, or W1 then W2, row by row.
"use strict";

const { addScaled, apply, dot, length, matrix, transpose } = require("./tensor.js");
const { newtonSchulz } = require("./newton_schulz.js");

// erfc, to a few units in the last place: the series of erf, whose terms are all positive, then a continued fraction.
function erfc(x) {
  if (x < 0) return 2 - erfc(-x);
  const front = Math.exp(-x * x) / Math.sqrt(Math.PI);
  if (x < 2) {
    let term = 2 * x;
    let sum = 0;
    for (let n = 1; term > 1e-18 * sum; ++n) {
      sum += term;
      term *= (2 * x * x) / (2 * n + 1);
    }
    return 1 - front * sum;
  }
  let fraction = x;
  for (let n = 120; n > 0; --n) fraction = x + n / 2 / fraction;
  return front / fraction;
}

const normalCdf = (z) => erfc(-z / Math.SQRT2) / 2;
const gelu = (z) => z * normalCdf(z);
const geluSlope = (z) => normalCdf(z) + (z * Math.exp((-z * z) / 2)) / Math.sqrt(2 * Math.PI);

class Model {
  constructor(rule, values, features, parameters) {
    const unit = rule.mlp ? values + features : values * features;
    if (unit === 0 || parameters % unit !== 0 || (!rule.mlp && parameters !== unit)) {
      throw new Error("the number of parameters does not fit the features and values of the memory");
    }
    const hidden = parameters / unit;
    this.rule = rule;
    this.shapes = rule.mlp ? [[values, hidden], [hidden, features]] : [[values, features]];
  }

  unpack(parameters) {
    let start = 0;
    return this.shapes.map(([rows, columns]) => {
      const part = parameters.slice(start, start + rows * columns);
      start += rows * columns;
      return matrix(rows, columns, part);
    });
  }

  // M(x): W x, or I x + W1 gelu(W2 x).
  predict(parameters, x) {
    const [outer, inner] = this.unpack(parameters);
    if (!this.rule.mlp) return apply(outer, x);
    return apply(outer, apply(inner, x).map(gelu)).map((entry, i) => entry + (x[i] ?? 0));
  }

  // The gradient of loss_scale ||M(k) - v||^2; with `mass` divided by max(1, kappa).
  gradient(parameters, key, value) {
    const [outer, inner] = this.unpack(parameters);
    const error = this.predict(parameters, key);
    addScaled(error, -1, value);
    const z = this.rule.mlp ? apply(inner, key) : null;
    const kappa = this.rule.mass ? this.curvature(outer, z, key, error) : 1;
    const scale = (2 * this.rule.lossScale) / Math.max(1, kappa);
    if (!this.rule.mlp) return scaledOuter(scale, error, key);
    const back = apply(transpose(outer), error).map((entry, j) => entry * geluSlope(z[j]));
    return Float64Array.from([...scaledOuter(scale, error, z.map(gelu)), ...scaledOuter(scale, back, key)]);
  }

  // kappa at the same parameters; `error` is M(k) - v.
  curvature(outer, z, key, error) {
    const square = dot(key, key);
    if (!this.rule.mlp) return square;
    let slopes = 0;
    outer.data.forEach((entry, place) => {
      slopes += (geluSlope(z[place % outer.columns]) * entry) ** 2;
    });
    const hidden = z.map(gelu);
    return dot(hidden, hidden) + square * slopes + 1.13 * length(key) * length(error);
  }

  // U(S): Newton-Schulz on each matrix by itself [RULE-11], or S.
  update(momentum) {
    const { orthogonalise, coefficients, steps, offset } = this.rule;
    if (!orthogonalise) return momentum;
    const parts = this.unpack(momentum).map((part) => newtonSchulz(part, coefficients, steps, offset).data);
    return Float64Array.from(parts.flatMap((part) => Array.from(part)));
  }
}

function scaledOuter(scale, left, right) {
  const result = new Float64Array(left.length * right.length);
  left.forEach((a, i) => right.forEach((b, j) => (result[i * right.length + j] = scale * a * b)));
  return result;
}

module.exports = { Model };
