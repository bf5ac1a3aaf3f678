"""Polynomial features in jax, written from docs/spec."""

from collections.abc import Hashable, Mapping
from itertools import combinations_with_replacement
from math import factorial, prod
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jax import Array

from spec_tests.port import Op
from spec_tests.ports.jax.arrays import Implementation, Tensors


def _monomials(x: Array, degree: int, a: Array, *, weighted: bool) -> Array:
    """Return the monomials of one degree times sqrt(a), and the root of the multinomial weight if `weighted`."""
    places = np.array(list(combinations_with_replacement(range(x.shape[1]), degree)))
    counts = [np.bincount(place) for place in places]
    weights = [factorial(degree) / prod(factorial(int(n)) for n in count) for count in counts]
    product = jnp.sqrt(a) * x[:, places[:, 0]]
    for i in range(1, degree):
        product = product * x[:, places[:, i]]
    return product * jnp.asarray(np.sqrt(weights), x.dtype) if weighted else product


def _polynomial_features(basis: Hashable, _: Any, x: Tensors) -> Tensors:
    vectors, a = x["x"], x["coefficients"]
    degrees = range(1, len(a) + 1)
    if basis == "elementwise":
        return {"features": 1.0 + sum((a[i - 1] * vectors**i for i in degrees), jnp.zeros_like(vectors))}
    if basis == "kronecker":
        powers = [vectors]
        for _i in degrees[1:]:
            powers.append((powers[-1][:, :, None] * vectors[:, None, :]).reshape(len(vectors), -1))
        parts = [jnp.sqrt(a[i]) * power for i, power in enumerate(powers)]
    else:
        parts = [_monomials(vectors, i, a[i - 1], weighted=basis == "monomial_weighted") for i in degrees]
    return {"features": jnp.concatenate(parts, axis=1)}


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {
    Op.POLYNOMIAL_FEATURES: Implementation(_polynomial_features, lambda config, *_: (config["basis"], ()))
}
