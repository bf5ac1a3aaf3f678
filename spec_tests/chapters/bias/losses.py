"""The losses whose slopes the error maps are, written from the table of docs/spec/bias.md and nothing else.

`yaad_printed` has none: it is not the gradient of one function.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from spec_tests.oracle.complex_step import STEP
from spec_tests.port import Array

Loss = Callable[[Array, Array, float, float, float], Array]


def _huber(x: Array, delta: float) -> Array:
    """Return x^2/2 inside and delta (|x| - delta/2) outside, for x that has a sign."""
    size = x * np.sign(x.real)
    return np.asarray(np.where(size.real <= delta, 0.5 * x * x, delta * (size - 0.5 * delta)))


def _length(x: Array) -> Array:
    return np.asarray(np.sqrt((x * x).sum()))


LOSSES: Final[Mapping[str, Loss]] = {
    "l2": lambda y, v, t, p, s: 0.5 * ((y - v) ** 2).sum(),
    "dot": lambda y, v, t, p, s: -(y * v).sum(),
    "lp": lambda y, v, t, p, s: 0.5 * (((y - v) ** 2 + s * s) ** (p / 2) - s**p).sum(),
    "huber_coordinate": lambda y, v, t, p, s: _huber(y - v, t).sum(),
    "huber_norm": lambda y, v, t, p, s: _huber(_length(y - v), t),
    "robust": lambda y, v, t, p, s: 0.5 * ((y - v) ** 2).sum() + t * np.sqrt(((y - v) ** 2).sum() + s * s),
}
"""The loss at loss_scale 1/2 of prediction, value, threshold, p and s."""


def slope(bias: str, prediction: Array, value: Array, threshold: float, exponent: float, smoothing: float) -> Array:
    """Return the derivative of a loss by its prediction, by complex steps."""
    slopes = np.zeros(len(prediction))
    for place in range(len(prediction)):
        moved = prediction.astype(complex)
        moved[place] += 1j * STEP
        slopes[place] = LOSSES[bias](moved, value, threshold, exponent, smoothing).imag / STEP
    return slopes
