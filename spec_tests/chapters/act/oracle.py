"""docs/spec/act.md in numpy: one row, one step at a time."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op


def halt(probabilities: Array, threshold: float) -> tuple[Array, Array, Array]:
    """Return the steps taken, the weights of the steps and the cost of each row."""
    halted = np.zeros(len(probabilities), dtype=np.int64)
    weights, ponder = np.zeros_like(probabilities), np.zeros_like(probabilities[:, 0])
    for row, chances in enumerate(probabilities):
        total = 0.0 * chances[0]
        for n, chance in enumerate(chances, start=1):
            if (total + chance).real >= threshold or n == len(chances):
                weights[row, n - 1] = 1.0 - total
                halted[row], ponder[row] = n, n + 1.0 - total
                break
            weights[row, n - 1] = chance
            total = total + chance
    return halted, weights, ponder


def _act_halt(config: Config, x: Arrays, _: Sums) -> Arrays:
    halted, weights, ponder = halt(x["probabilities"], float(config["threshold"]))
    return {"halted": halted, "weights": weights, "ponder": ponder}


ANSWERS: Final[Mapping[Op, Function]] = {Op.ACT_HALT: _act_halt}
