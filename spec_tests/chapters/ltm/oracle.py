"""docs/spec/ltm.md in numpy: one token at a time."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op


def running_mean(x: Array, carry: Array, position: Array, decay: float) -> tuple[Array, Array]:
    """Return every mean [batch, time, dim] and the last ones."""
    dtype = np.result_type(x, carry)
    outputs, mean = np.zeros(x.shape, dtype), carry.astype(dtype)
    for row in range(len(x)):
        for t in range(x.shape[1]):
            before = np.zeros_like(mean[row]) if position[row, t] == 0 else mean[row]
            mean[row] = decay * before + (1.0 - decay) * x[row, t]
            outputs[row, t] = mean[row]
    return outputs, mean


def _ltm_scan(config: Config, x: Arrays, _: Sums) -> Arrays:
    y, carry = running_mean(x["x"], x["carry"], x["position"], float(config["decay"]))
    return {"carry": carry, "y": y}


ANSWERS: Final[Mapping[Op, Function]] = {Op.LTM_SCAN: _ltm_scan}
