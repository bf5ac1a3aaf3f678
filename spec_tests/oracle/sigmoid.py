"""The logistic function, for real and complex numbers."""

import numpy as np

from spec_tests.port import Array


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)) without overflow."""
    small = np.exp(np.where(x.real < 0.0, x, -x))
    return np.where(x.real < 0.0, small, 1.0).astype(small.dtype) / (1.0 + small)
