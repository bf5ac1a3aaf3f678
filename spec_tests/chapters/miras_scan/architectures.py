"""The architectures of docs/spec/miras_scan.md: how parameters are packed, what a memory predicts, how errors go back.

What chapter MEM has, `matrix` and `mlp`, is `memory_step/loop.py`'s own; here are those with a normalisation or a gate.
"""

from typing import Final

import numpy as np

from spec_tests.chapters.memory_step.loop import Matrices, gelu, gelu_slope, identity_part, outer_product
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array

ARCHITECTURES: Final = ("matrix", "mlp", "linear_norm", "mlp_norm", "mlp_glu")
NORMALISED: Final = ("linear_norm", "mlp_norm")
EPS: Final = 1e-6


def hidden_units(architecture: str, parameters: int, features: int, values: int) -> int:
    """Return the hidden width that a number of parameters means; 0 for a single matrix."""
    if architecture in ("matrix", "linear_norm"):
        return 0
    return parameters // (values + (2 if architecture == "mlp_glu" else 1) * features)


def unpacked(architecture: str, packed: Array, features: int, values: int) -> Matrices:
    """Return W, or W1 and W2, or W1, W2 and W3."""
    hidden = hidden_units(architecture, len(packed), features, values)
    if not hidden:
        return [packed.reshape(values, features)]
    outer, *inner = np.split(packed, range(values * hidden, len(packed), hidden * features))
    return [outer.reshape(values, hidden), *(part.reshape(hidden, features) for part in inner)]


def standardised(z: Array, sums: Sums) -> Array:
    """Return LN(z): (z - mean) / sqrt(variance + eps), without factor and bias."""
    centred = z - sums.total(z) / len(z)
    return np.asarray(centred / deviation(z, sums))


def deviation(z: Array, sums: Sums) -> Array:
    """Return sqrt(variance + eps)."""
    centred = z - sums.total(z) / len(z)
    return np.asarray(np.sqrt(sums.dot(centred, centred) / len(z) + EPS))


def through_norm(z: Array, error: Array, sums: Sums) -> Array:
    """Return the gradient of <error, LN(z)>: (r - mean(r) - z^ mean(r z^)) / sd."""
    unit = standardised(z, sums)
    mean, share = sums.total(error) / len(z), sums.dot(error, unit) / len(z)
    return np.asarray((error - mean - unit * share) / deviation(z, sums))


def before_norm(weights: Matrices, x: Array, sums: Sums) -> Array:
    """Return W x, W1 gelu(W2 x) or W1 (gelu(W2 x) W3 x)."""
    if len(weights) == 1:
        return sums.matvec(weights[0], x)
    hidden = gelu(sums.matvec(weights[1], x))
    if len(weights) == 3:
        hidden = hidden * sums.matvec(weights[2], x)
    return sums.matvec(weights[0], hidden)


def predicted(architecture: str, weights: Matrices, x: Array, sums: Sums) -> Array:
    """Return P(x)."""
    z = before_norm(weights, x, sums)
    if architecture == "matrix":
        return z
    part = standardised(z, sums) if architecture in NORMALISED else z
    return np.asarray(identity_part(x, len(z)) + part)


def taken_back(architecture: str, weights: Matrices, x: Array, error: Array, sums: Sums) -> Matrices:
    """Return the gradient of <error, P(x)> in every matrix."""
    if architecture in NORMALISED:
        error = through_norm(before_norm(weights, x, sums), error, sums)
    if len(weights) == 1:
        return [outer_product(error, x)]
    z, returned = sums.matvec(weights[1], x), sums.matvec(weights[0].T, error)
    bent = gelu_slope(z)
    if len(weights) == 2:
        return [outer_product(error, gelu(z)), outer_product(returned * bent, x)]
    gate = sums.matvec(weights[2], x)
    parts = (returned * gate * bent, returned * gelu(z))
    return [outer_product(error, gelu(z) * gate), *(outer_product(part, x) for part in parts)]
