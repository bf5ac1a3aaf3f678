"""Derivatives without rules of differentiation: the complex step.

For an analytic f, Im f(x + i h)/h is f'(x) up to h^2; with h = 1e-30 nothing is subtracted and nothing is lost. Every
function of this package is analytic in the numbers it gets: norms are sqrt(x x) and not |x|, branches look at real
parts. Where the specification stops a gradient a function takes the real part.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from spec_tests.port import Array

Function = Callable[[Mapping[str, Array]], Mapping[str, Array]]

STEP: Final = 1e-30


def slope(outputs: Mapping[str, Array], cotangents: Mapping[str, Array]) -> float:
    """Return the derivative of sum(cotangent * output) that stands in the imaginary parts."""
    return sum(float((cotangent * outputs[name].imag).sum()) for name, cotangent in cotangents.items()) / STEP


def gradients(function: Function, inputs: Mapping[str, Array], cotangents: Mapping[str, Array]) -> dict[str, Array]:
    """Return the derivative of sum(cotangent * output) with respect to each entry of each float64 input."""
    result = {}
    for name, value in inputs.items():
        if value.dtype.kind != "f":
            continue
        result[name] = np.zeros_like(value)
        for place in np.ndindex(value.shape):
            moved = value.astype(complex)
            moved[place] += 1j * STEP
            result[name][place] = slope(function({**inputs, name: moved}), cotangents)
    return result
