"""docs/spec/m3.md in numpy, one row at a time."""

import numpy as np

from spec_tests.port import Array


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)) without overflow."""
    small = np.exp(np.where(x.real < 0.0, x, -x))
    return np.where(x.real < 0.0, small, 1.0).astype(small.dtype) / (1.0 + small)


def m3_mix(previous: Array, initial: Array, crossings: Array, warmup: int, logit: Array) -> tuple[Array, Array]:
    """Return the mixing of each row and the new state; the previous state counts as a constant."""
    mixing = np.zeros(len(crossings), dtype=logit.dtype)
    for row, n in enumerate(crossings):
        mixing[row] = 0.1 + 0.4 * int(n) / warmup if n < warmup else sigmoid(logit)
    old = previous.real
    mixed = [a * old[row] + (1.0 - a) * initial for row, a in enumerate(mixing)]
    return mixing, np.stack(mixed)
