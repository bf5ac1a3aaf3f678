"""gelu(z) = z Phi(z) and its two derivatives, one number at a time, and how they meet a complex step."""

from collections.abc import Callable
from math import erfc, exp, pi, sqrt

import numpy as np

from spec_tests.port import Array


def cumulative(x: float) -> float:
    """Return Phi(x), the normal distribution function; 1 + erf would cancel for large negative x."""
    return 0.5 * erfc(-x / sqrt(2.0))


def density(x: float) -> float:
    """Return phi(x) = Phi'(x)."""
    return exp(-0.5 * x * x) / sqrt(2.0 * pi)


def gelu_at(x: float) -> float:
    """Return x Phi(x)."""
    return x * cumulative(x)


def slope_at(x: float) -> float:
    """Return the first derivative of x Phi(x)."""
    return cumulative(x) + x * density(x)


def bend_at(x: float) -> float:
    """Return the second derivative of x Phi(x)."""
    return (2.0 - x * x) * density(x)


def entrywise(z: Array, value: Callable[[float], float], slope: Callable[[float], float]) -> Array:
    """Apply a function entry by entry; an imaginary part is carried to first order, along the slope."""
    real = np.array([value(x) for x in z.real.flat], dtype=z.real.dtype).reshape(z.shape)
    if not np.iscomplexobj(z):
        return real
    slopes = np.array([slope(x) for x in z.real.flat], dtype=z.real.dtype).reshape(z.shape)
    return np.asarray(real + 1j * slopes * z.imag)
