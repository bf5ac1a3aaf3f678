"""docs/spec/link.md in numpy: the matrices W that are read, from the dual state A, each matrix by itself.

Analytic: signs and largest entries are those of real parts, so that a complex step differentiates all of it.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Scalar

Config = Mapping[str, Scalar]
Map = Callable[[Config, Array, Sums], Array]

FLOOR: Final = 1e-3
"""The least norm that `lq_printed` divides by."""


def sizes(x: Array) -> Array:
    """Return |x|, entry by entry."""
    return np.asarray(x * np.sign(x.real))


def q_norm(x: Array, q: float, sums: Sums) -> Array:
    """Return the q-norm over all entries, scaled so that no power overflows; zero, without derivative, for zero."""
    largest = np.abs(x.real).max(initial=0.0)
    if largest == 0.0:
        return np.zeros((), dtype=x.real.dtype)
    return np.asarray(largest * sums.total((sizes(x) / largest).ravel() ** q) ** (1.0 / q))


def identity(config: Config, dual: Array, sums: Sums) -> Array:
    """Return A."""
    return dual


def lq(config: Config, dual: Array, sums: Sums) -> Array:
    """Return sign(A) |A|^(q-1) / ||A||_q^(q-2), zero for zero."""
    q = float(config["link_exponent"])
    norm = q_norm(dual, q, sums)
    if q == 2.0:
        return dual
    if norm == 0.0:
        return np.asarray(0.0 * dual.real)
    return np.asarray(dual * (sizes(dual) / norm) ** (q - 2.0))


def lq_printed(config: Config, dual: Array, sums: Sums) -> Array:
    """Return A / max(||A||_q, 1e-3)^(q-2)."""
    q = float(config["link_exponent"])
    norm = q_norm(dual, q, sums)
    return np.asarray(dual / (norm if norm.real > FLOOR else FLOOR) ** (q - 2.0))


def row_logarithms(dual: Array, sums: Sums) -> Array:
    """Return the logarithm of the sum of the exponentials of each row."""
    largest = dual.real.max(-1, keepdims=True)
    return np.asarray(largest + np.log(sums.total(np.exp(dual - largest))[..., None]))


def softmax(config: Config, dual: Array, sums: Sums) -> Array:
    """Return c times the softmax of each row."""
    return np.asarray(float(config["link_scale"]) * np.exp(dual - row_logarithms(dual, sums)))


def sigmoid(config: Config, dual: Array, sums: Sums) -> Array:
    """Return 1 / (1 + exp(-A)), without an overflow on either side."""
    small = np.exp(-sizes(dual))
    return np.asarray(np.where(dual.real >= 0.0, 1.0, small) / (1.0 + small))


def shrunk(x: Array, level: Array | float) -> Array:
    """Return sign(x) max(0, |x| - level), entry by entry."""
    beyond = sizes(x) - level
    return np.asarray(np.where(beyond.real > 0.0, np.sign(x.real) * beyond, 0.0))


def soft_threshold(config: Config, dual: Array, sums: Sums) -> Array:
    """Return A, shrunk by the level."""
    return shrunk(dual, float(config["level"]))


LINKS: Final[Mapping[str, Map]] = {
    "identity": identity,
    "lq": lq,
    "lq_printed": lq_printed,
    "softmax": softmax,
    "sigmoid": sigmoid,
    "soft_threshold": soft_threshold,
}
"""Every link by name."""


def linked(config: Config, dual: Array, sums: Sums) -> Array:
    """Return W of one matrix."""
    return LINKS[str(config["link"])](config, dual, sums)


def canonical(config: Config, dual: Array, sums: Sums) -> Array:
    """Return the state that stands for all with the same W: log(W/c) for `softmax`, else A itself."""
    return np.asarray(dual - row_logarithms(dual, sums)) if config["link"] == "softmax" else dual
