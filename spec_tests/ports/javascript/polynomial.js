// Polynomial features: docs/spec/polynomial.md.
"use strict";

const { Tensor } = require("./tensor.js");

// Features sqrt(a_i) sqrt(multiplicity) x^beta over all monomials of degree i = 1 .. p, so that the inner product is
// sum_i a_i (q.k)^i [FEAT-2]; without the multiplicity for the plain basis [FEAT-4]. How often a monomial occurs in
// (x_1 + .. + x_d)^i is built up one factor at a time; variables stand in ascending order.
function monomials(x, coefficients, weighted) {
  const features = [];
  let kinds = [{ last: 0, repetitions: 0, multiplicity: 1, value: 1 }];
  coefficients.forEach((coefficient, i) => {
    const next = [];
    for (const { last, repetitions, multiplicity, value } of kinds) {
      for (let j = last; j < x.length; ++j) {
        const times = j === last ? repetitions + 1 : 1;
        next.push({ last: j, repetitions: times, multiplicity: (multiplicity * (i + 1)) / times, value: value * x[j] });
      }
    }
    kinds = next;
    for (const { multiplicity, value } of kinds) {
      features.push(Math.sqrt(coefficient) * (weighted ? Math.sqrt(multiplicity) : 1) * value);
    }
  });
  return features;
}

// Features sqrt(a_i) x (x) x (x) .. (i times): the same kernel with repeated entries [FEAT-3].
function kronecker(x, coefficients) {
  const features = [];
  let power = [1];
  for (const coefficient of coefficients) {
    power = power.flatMap((left) => Array.from(x, (right) => left * right));
    features.push(...power.map((entry) => Math.sqrt(coefficient) * entry));
  }
  return features;
}

// 1 + sum_i a_i x_j^i for every j [FEAT-5].
function elementwise(x, coefficients) {
  return Array.from(x, (entry) => coefficients.reduce((sum, a, i) => sum + a * entry ** (i + 1), 1));
}

function featuresOf(x, coefficients, basis) {
  if (basis === "elementwise") return elementwise(x, coefficients);
  if (basis === "kronecker") return kronecker(x, coefficients);
  return monomials(x, coefficients, basis === "monomial_weighted");
}

function polynomial_features(call) {
  const basis = call.choice("basis", ["monomial_weighted", "monomial", "kronecker", "elementwise"]);
  const x = call.input("x", "batch dim");
  const coefficients = Array.from(call.input("coefficients", "degree").data);
  const width = featuresOf(new Float64Array(call.axis("dim")), coefficients, basis).length;
  const features = new Tensor([call.axis("batch"), width]);
  for (let n = 0; n < call.axis("batch"); ++n) features.setVector(featuresOf(x.vector(n), coefficients, basis), n);
  call.activation("features", features);
}

module.exports = { polynomial_features };
