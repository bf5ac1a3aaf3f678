"""docs/spec/normalize.md in numpy, one vector at a time."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op


def l2_normalize(vectors: Array, eps: float, sums: Sums) -> Array:
    """Return x / sqrt(||x||^2 + eps^2) for each vector, every square taken of a number between 0 and 1."""
    result = np.zeros_like(vectors)
    for row, x in enumerate(vectors):
        scale = max(float(np.abs(x.real).max(initial=0.0)), eps)
        part = x / scale
        result[row] = part / np.sqrt(sums.dot(part, part) + (eps / scale) ** 2)
    return result


def _l2_normalize(config: Config, x: Arrays, sums: Sums) -> Arrays:
    return {"y": l2_normalize(x["x"], float(config["eps"]), sums)}


ANSWERS: Final[Mapping[Op, Function]] = {Op.L2_NORMALIZE: _l2_normalize}
