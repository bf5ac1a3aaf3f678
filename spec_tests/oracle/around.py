"""The operations around the memory a second time, in loops: StableMax, running mean, gate, halting."""

import numpy as np

from spec_tests.oracle.m3 import sigmoid
from spec_tests.oracle.sums import FORWARD, Sums
from spec_tests.port import Array


def stablemax(x: Array, sums: Sums = FORWARD) -> Array:
    """Return the probabilities of rows of logits [batch, dim]."""
    result = np.zeros_like(x)
    for row, logits in enumerate(x):
        s = np.array([1.0 + z if z.real >= 0 else 1.0 / (1.0 - z) for z in logits], dtype=x.dtype)
        share = s / s.real.max()
        result[row] = share / sums.total(share)
    return result


def running_mean(x: Array, carry: Array, position: Array, decay: float) -> tuple[Array, Array]:
    """Return every mean [batch, time, dim] and the last ones."""
    dtype = np.result_type(x, carry)
    outputs, mean = np.zeros(x.shape, dtype), carry.astype(dtype)
    for row in range(len(x)):
        for t in range(x.shape[1]):
            before = 0.0 * mean[row] if position[row, t] == 0 else mean[row]
            mean[row] = decay * before + (1.0 - decay) * x[row, t]
            outputs[row, t] = mean[row]
    return outputs, mean


def gate(kind: str, attention: Array, memory: Array, logits: Array, floor: float) -> tuple[Array, Array]:
    """Return the gate and the joined values, entry by entry."""
    raw = attention if kind == "source" else logits
    share = floor + (1.0 - floor) * sigmoid(raw)
    return share, share * memory if kind == "source" else share * attention + (1.0 - share) * memory


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
