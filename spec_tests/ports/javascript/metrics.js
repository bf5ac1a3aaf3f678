// Metrics of circularity: docs/spec/metrics.md.
"use strict";

const { Tensor, apply, dot, length, matrix, multiply, transpose } = require("./tensor.js");

// The share of the strongest frequencies in the energy of all but the constant one; k and p - k are one frequency.
function fourier_concentration(call) {
  const top = call.integer("top", 0);
  const embedding = call.input("embedding", "numbers dim");
  const numbers = call.axis("numbers");
  const columns = transpose(matrix(numbers, call.axis("dim"), embedding.data));
  const energy = (k) => {
    const angles = Float64Array.from({ length: numbers }, (_, n) => (2 * Math.PI * ((k * n) % numbers)) / numbers);
    const parts = [Math.cos, Math.sin].map((wave) => apply(columns, angles.map(wave)));
    return dot(parts[0], parts[0]) + dot(parts[1], parts[1]);
  };
  const pairs = [];
  for (let k = 1; k <= numbers / 2; ++k) pairs.push(2 * k === numbers ? energy(k) : energy(k) + energy(numbers - k));
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const total = sum(pairs);
  const strongest = pairs.sort((a, b) => b - a).slice(0, top);
  call.state("concentration", new Tensor([], Float64Array.of(total > 0 ? sum(strongest) / total : 0)));
}

// Eigenvectors of a symmetric matrix as rows, of the largest eigenvalue first, by Jacobi's rotations.
function eigenvectors(symmetric) {
  const n = symmetric.rows;
  const a = symmetric.data.slice();
  const rows = Array.from({ length: n }, (_, i) => Float64Array.from({ length: n }, (__, j) => Number(i === j)));
  for (let sweep = 0; sweep < 60; ++sweep) {
    for (let p = 0; p < n; ++p) {
      for (let q = p + 1; q < n; ++q) rotate(a, rows, n, p, q);
    }
  }
  const order = rows.map((_, i) => i).sort((i, j) => a[j * n + j] - a[i * n + i]);
  return order.map((i) => rows[i]);
}

function rotate(a, rows, n, p, q) {
  if (a[p * n + q] === 0) return;
  const ratio = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
  const t = (ratio < 0 ? -1 : 1) / (Math.abs(ratio) + Math.hypot(ratio, 1));
  const c = 1 / Math.hypot(t, 1);
  const s = t * c;
  for (let k = 0; k < n; ++k) {
    const [x, y] = [a[k * n + p], a[k * n + q]];
    a[k * n + p] = c * x - s * y;
    a[k * n + q] = s * x + c * y;
  }
  for (let k = 0; k < n; ++k) {
    const [x, y] = [a[p * n + k], a[q * n + k]];
    a[p * n + k] = c * x - s * y;
    a[q * n + k] = s * x + c * y;
    const [u, v] = [rows[p][k], rows[q][k]];
    rows[p][k] = c * u - s * v;
    rows[q][k] = s * u + c * v;
  }
}

// The solution of a small system, by elimination with pivots.
function solve(rows) {
  const n = rows.length;
  for (let i = 0; i < n; ++i) {
    let pivot = i;
    for (let k = i; k < n; ++k) if (Math.abs(rows[k][i]) > Math.abs(rows[pivot][i])) pivot = k;
    [rows[i], rows[pivot]] = [rows[pivot], rows[i]];
    for (let k = 0; k < n; ++k) {
      if (k === i) continue;
      const factor = rows[k][i] / rows[i][i];
      rows[k] = rows[k].map((entry, j) => entry - factor * rows[i][j]);
    }
  }
  return rows.map((row, i) => row[n] / row[i]);
}

// How far the angles follow one frequency.
function orderOf(angles) {
  const n = angles.length;
  let best = 0;
  for (let k = 1; k < n; ++k) {
    let [real, imaginary] = [0, 0];
    angles.forEach((angle, i) => {
      const phase = angle - (2 * Math.PI * ((k * i) % n)) / n;
      real += Math.cos(phase) / n;
      imaginary += Math.sin(phase) / n;
    });
    best = Math.max(best, Math.hypot(real, imaginary));
  }
  return best;
}

// A circle through the two strongest principal components, by least squares.
function circular_fit(call) {
  const embedding = call.input("embedding", "numbers dim");
  const permutations = call.input("permutations", "permutations numbers");
  const [numbers, dim] = [call.axis("numbers"), call.axis("dim")];
  const means = Float64Array.from({ length: dim }, (_, j) => {
    let sum = 0;
    for (let i = 0; i < numbers; ++i) sum += embedding.at(i, j);
    return sum / numbers;
  });
  const centred = matrix(numbers, dim, embedding.data.map((entry, place) => entry - means[place % dim]));
  const [first, second] = eigenvectors(multiply(transpose(centred), centred));
  const [x, y] = [apply(centred, first), apply(centred, second)];
  const design = Array.from({ length: numbers }, (_, i) => [2 * x[i], 2 * y[i], 1, x[i] ** 2 + y[i] ** 2]);
  const rows = [0, 1, 2].map((k) => [0, 1, 2, 3].map((j) => design.reduce((sum, row) => sum + row[k] * row[j], 0)));
  const [a, b, rest] = solve(rows);
  const radius = Math.sqrt(rest + a * a + b * b);
  const misses = x.map((entry, i) => Math.hypot(entry - a, y[i] - b) - radius);
  const angles = x.map((entry, i) => Math.atan2(y[i] - b, entry - a));
  const fit = Math.max(0, 1 - length(misses) / Math.sqrt(numbers) / radius);
  const nulls = Float64Array.from({ length: call.axis("permutations") }, (_, n) =>
    orderOf(Float64Array.from(permutations.vector(n), (place) => angles[place])),
  );
  call.state("fit", new Tensor([], Float64Array.of(fit)));
  call.state("order", new Tensor([], Float64Array.of(orderOf(angles))));
  call.state("null", new Tensor([nulls.length], nulls));
}

module.exports = { fourier_concentration, circular_fit };
