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


def log_stablemax(logits: Array, sums: Sums = FORWARD) -> Array:
    """Return the logarithms of the probabilities of one vector of logits, in float64 or wider."""
    s = np.array([1.0 + z if z.real >= 0 else 1.0 / (1.0 - z) for z in logits])
    logs = np.array([np.log1p(z) if z.real >= 0 else -np.log1p(-z) for z in logits])
    largest = s[s.real.argmax()]
    return np.asarray(logs - np.log(largest) - np.log(sums.total(s / largest)))


def loss_of_row(logs: Array, labels: Array, sums: Sums = FORWARD) -> Array:
    """Return the mean of -log p over the labels of a row that are not -100; zero where there is none."""
    counted = [-logs[t, label] for t, label in enumerate(labels) if label != -100]
    return np.asarray(sums.total(np.array(counted)) / len(counted) if counted else 0.0)


def _stablemax_loss(_: Config, x: Arrays, sums: Sums) -> Arrays:
    wide = x["logits"].astype(np.result_type(x["logits"], np.float64))
    logs = np.zeros_like(wide)
    for row, t in np.ndindex(wide.shape[:2]):
        logs[row, t] = log_stablemax(wide[row, t], sums)
    losses = [loss_of_row(logs[row], labels, sums) for row, labels in enumerate(x["labels"])]
    return {"log_probabilities": logs, "losses": np.array(losses, dtype=wide.dtype)}


ANSWERS: Final[Mapping[Op, Function]] = {Op.STABLEMAX: _stablemax, Op.STABLEMAX_LOSS: _stablemax_loss}
