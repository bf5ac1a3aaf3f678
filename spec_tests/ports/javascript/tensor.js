// Arrays of numbers with a shape, row-major, and the little algebra that operations share. Everything is computed in
// double precision: `f32` allows wider arithmetic inside.
"use strict";

class Tensor {
  constructor(shape, data = null, isIndex = false) {
    this.shape = [...shape];
    this.data = data ?? new Float64Array(this.shape.reduce((product, length) => product * length, 1));
    this.isIndex = isIndex;
  }

  // The place of the first number below these indices, which name the leading axes.
  place(...indices) {
    let place = 0;
    for (let axis = 0; axis < this.shape.length; ++axis) place = place * this.shape[axis] + (indices[axis] ?? 0);
    return place;
  }

  at(...indices) {
    return this.data[this.place(...indices)];
  }

  set(value, ...indices) {
    this.data[this.place(...indices)] = value;
  }

  // A copy of everything below these indices, as one vector.
  vector(...indices) {
    const size = this.shape.slice(indices.length).reduce((product, length) => product * length, 1);
    const start = size === 0 ? 0 : this.place(...indices);
    return this.data.slice(start, start + size);
  }

  setVector(vector, ...indices) {
    if (vector.length > 0) this.data.set(vector, this.place(...indices));
  }

  copy() {
    return new Tensor(this.shape, this.data.slice(), this.isIndex);
  }
}

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; ++i) sum += a[i] * b[i];
  return sum;
}

// ||x||, by the largest entry: squares of entries of 1e200 are no numbers.
function length(x) {
  let largest = 0;
  for (const entry of x) largest = Math.max(largest, Math.abs(entry));
  if (largest === 0 || !Number.isFinite(largest)) return largest;
  let sum = 0;
  for (const entry of x) sum += (entry / largest) ** 2;
  return largest * Math.sqrt(sum);
}

function addScaled(sum, factor, x) {
  for (let i = 0; i < sum.length; ++i) sum[i] += factor * x[i];
}

function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

// A matrix is { rows, columns, data }, row-major.
function matrix(rows, columns, data = null) {
  return { rows, columns, data: data ?? new Float64Array(rows * columns) };
}

function transpose(a) {
  const result = matrix(a.columns, a.rows);
  for (let i = 0; i < a.rows; ++i) {
    for (let j = 0; j < a.columns; ++j) result.data[j * a.rows + i] = a.data[i * a.columns + j];
  }
  return result;
}

function multiply(a, b) {
  const result = matrix(a.rows, b.columns);
  for (let i = 0; i < a.rows; ++i) {
    for (let k = 0; k < a.columns; ++k) {
      const left = a.data[i * a.columns + k];
      for (let j = 0; j < b.columns; ++j) result.data[i * b.columns + j] += left * b.data[k * b.columns + j];
    }
  }
  return result;
}

function apply(a, x) {
  return multiply(a, matrix(x.length, 1, x)).data;
}

module.exports = { Tensor, dot, length, addScaled, sigmoid, matrix, transpose, multiply, apply };
