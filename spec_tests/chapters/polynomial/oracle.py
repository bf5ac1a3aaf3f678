"""docs/spec/polynomial.md in numpy: a list of monomials, one feature at a time."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations_with_replacement, product
from math import factorial, prod
from typing import Final

import numpy as np

from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op


def arrangements(monomial: tuple[int, ...]) -> int:
    """Return in how many orders the factors of a monomial can stand: its multinomial weight."""
    return factorial(len(monomial)) // prod(factorial(n) for n in Counter(monomial).values())


def terms(basis: str, dim: int, degree: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield the places of the factors of each feature, degree by degree, and the weight under its root."""
    for i in range(1, degree + 1):
        if basis == "kronecker":
            yield from ((places, 1) for places in product(range(dim), repeat=i))
        else:
            for places in combinations_with_replacement(range(dim), i):
                yield places, arrangements(places) if basis == "monomial_weighted" else 1


def polynomial_features(x: Array, coefficients: Array, basis: str, sums: Sums) -> Array:
    """Return the features of each vector."""
    if basis == "elementwise":
        powers = [np.ones_like(x), *(a * x**i for i, a in enumerate(coefficients, start=1))]
        return sums.total(np.stack(powers), axis=0)
    columns = []
    for places, weight in terms(basis, x.shape[1], len(coefficients)):
        column = np.sqrt(coefficients[len(places) - 1] * weight) * np.ones_like(x[:, 0])
        for place in places:
            column = column * x[:, place]
        columns.append(column)
    return np.stack(columns, axis=1)


def _polynomial_features(config: Config, x: Arrays, sums: Sums) -> Arrays:
    return {"features": polynomial_features(x["x"], x["coefficients"], str(config["basis"]), sums)}


ANSWERS: Final[Mapping[Op, Function]] = {Op.POLYNOMIAL_FEATURES: _polynomial_features}
