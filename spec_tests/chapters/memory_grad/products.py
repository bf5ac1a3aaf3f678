"""Products of a vector with the transposed Jacobians of the three maps that a turn of the memory is made of.

M(x), the gradient of a pair, and Newton-Schulz. The last two are themselves gradients of scalar functions, so their
Jacobians are symmetric: the transposed product is the product, and one complex step along the vector gives it. Only the
curvature kappa is differentiated by hand. `test_oracles_agree.py` checks all of it against element by element steps.
"""

from typing import NamedTuple

import numpy as np

from spec_tests.chapters.memory_step.loop import Matrices, gelu, gelu_slope, identity_part, outer_product
from spec_tests.chapters.newton_schulz.oracle import polynomials
from spec_tests.oracle.complex_step import STEP
from spec_tests.oracle.sums import ANY_ORDER
from spec_tests.port import Array


class Back(NamedTuple):
    """What goes back to the matrices of a memory, to its argument, and to the value it is compared with."""

    weights: Matrices
    key: Array
    value: Array


def moved(x: Array, direction: Array) -> Array:
    """Return x, a complex step along a direction."""
    return np.asarray(x + 1j * STEP * direction)


def change(x: Array) -> Array:
    """Return the derivative that stands in the imaginary part."""
    return np.asarray(x.imag / STEP)


def inner(left: Matrices, right: Matrices) -> float:
    """Return the inner product over all entries of two lists of matrices."""
    return sum(float((a * b).sum()) for a, b in zip(left, right, strict=True))


def through(weights: Matrices, x: Array, vector: Array) -> Back:
    """Return the gradient of <vector, M(x) - v>."""
    if len(weights) == 1:
        return Back([outer_product(vector, x)], weights[0].T @ vector, -vector)
    z = weights[1] @ x
    back = weights[0].T @ vector * gelu_slope(z)
    argument = identity_part(vector, len(x)) + weights[1].T @ back
    return Back([outer_product(vector, gelu(z)), outer_product(back, x)], argument, -vector)


def residual(weights: Matrices, key: Array, value: Array) -> Array:
    """Return M(k) - v."""
    if len(weights) == 1:
        return np.asarray(weights[0] @ key - value)
    return np.asarray(identity_part(key, len(value)) + weights[0] @ gelu(weights[1] @ key) - value)


def through_gradient(anchor: Matrices, key: Array, value: Array, vectors: Matrices) -> Back:
    """Return the gradient of <vectors, grad of 1/2 ||M(k) - v||^2>: that of the loss, changed along the vectors."""
    weights = [moved(matrix, vector) for matrix, vector in zip(anchor, vectors, strict=True)]
    back = through(weights, key, residual(weights, key, value))
    return Back([change(matrix) for matrix in back.weights], change(back.key), change(back.value))


def through_curvature(weights: Matrices, key: Array, value: Array) -> Back:
    """Return the gradient of kappa."""
    if len(weights) == 1:
        return Back([0.0 * weights[0]], 2.0 * key, 0.0 * value)
    outer, hidden = weights
    z, square = hidden @ key, key @ key
    slope, columns = gelu_slope(z), (outer**2).sum(0)
    bend = change(gelu_slope(moved(z, np.ones_like(z))))
    on_z = 2.0 * gelu(z) * slope + 2.0 * square * slope * bend * columns
    error = residual(weights, key, value)
    length, miss = np.sqrt(square), np.sqrt(error @ error)
    coupled = through(weights, key, 1.13 * length * error / miss)
    on_key = (2.0 * (slope**2 * columns).sum() + 1.13 * miss / length) * key
    return Back(
        [coupled.weights[0] + 2.0 * square * slope**2 * outer, coupled.weights[1] + outer_product(on_z, key)],
        coupled.key + on_key + hidden.T @ on_z,
        coupled.value,
    )


def through_newton_schulz(momentum: Array, name: str, steps: int, offset: float, vector: Array) -> Array:
    """Return the gradient of <vector, NS(S)>: through the polynomials, then through S / (||S||_F + offset)."""
    start = momentum / (ANY_ORDER.norm(momentum) + offset)
    to_start = change(polynomials(moved(start, vector), name, steps))
    stepped = moved(momentum, to_start)
    return change(stepped / (ANY_ORDER.norm(stepped) + offset))
