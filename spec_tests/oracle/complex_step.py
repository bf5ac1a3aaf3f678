"""Derivatives without rules of differentiation: the complex step.

For an analytic f, Im f(x + i h)/h is f'(x) up to h^2; with h = 1e-30 nothing is subtracted and nothing is lost. Every
function of this package is analytic in the numbers it gets: norms are sqrt(x x) and not |x|, branches look at real
parts. Where the specification stops a gradient a function takes the real part.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from spec_tests.port import Array

Arrays = Mapping[str, Array]
Function = Callable[[Arrays], Arrays]

STEP: Final = 1e-30


def along(function: Function, inputs: Arrays, directions: Arrays, cotangents: Arrays) -> float:
    """Return the derivative of sum(cotangent * output) when each named float64 input moves along its direction."""
    moved = {name: inputs[name] + 1j * STEP * direction for name, direction in directions.items()}
    outputs = function({**inputs, **moved})
    return sum(_inner(cotangent, outputs[name].imag) for name, cotangent in cotangents.items()) / STEP


def _inner(cotangent: Array, slope: Array) -> float:
    """Return the inner product; where a cotangent is zero nobody looks, whatever stands there."""
    return float((cotangent * np.where(cotangent == 0.0, 0.0, slope)).sum())


def gradients(function: Function, inputs: Arrays, cotangents: Arrays) -> dict[str, Array]:
    """Return the derivative of sum(cotangent * output) with respect to each entry of each float64 input."""
    result = {}
    for name, value in inputs.items():
        if value.dtype.kind != "f":
            continue
        result[name] = np.zeros_like(value)
        for place in np.ndindex(value.shape):
            entry = np.zeros_like(value)
            entry[place] = 1.0
            result[name][place] = along(function, inputs, {name: entry}, cotangents)
    return result
