"""docs/spec/stablemax.md in numpy: one row at a time."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import FORWARD, Sums
from spec_tests.port import Array, Op


def stablemax(x: Array, sums: Sums = FORWARD) -> Array:
    """Return the probabilities of rows of logits [batch, dim]."""
    result = np.zeros_like(x)
    for row, logits in enumerate(x):
        s = np.array([1.0 + z if z.real >= 0 else 1.0 / (1.0 - z) for z in logits], dtype=x.dtype)
        share = s / s.real.max()
        result[row] = share / sums.total(share)
    return result


def _stablemax(_: Config, x: Arrays, sums: Sums) -> Arrays:
    return {"probabilities": stablemax(x["x"], sums)}


ANSWERS: Final[Mapping[Op, Function]] = {Op.STABLEMAX: _stablemax}
