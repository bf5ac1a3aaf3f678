"""docs/spec/halt.md in numpy: one row, one step at a time."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import FORWARD, Sums
from spec_tests.port import Array, Op


def first_halt(logits: Array, threshold: float) -> int:
    """Return the number of steps of one row."""
    for n, logit in enumerate(logits, start=1):
        if not np.isnan(logit.real) and 1.0 / (1.0 + np.exp(-np.clip(logit.real, -80.0, 80.0))) >= threshold:
            return n
    return len(logits)


def cross_entropy(logit: Array, correct: int) -> Array:
    """Return -log sigmoid(q), or -log(1 - sigmoid(q)) where the answer is wrong, without overflow."""
    against = -logit if correct else logit
    return np.asarray(np.log1p(np.exp(against)) if against.real < 0 else against + np.log1p(np.exp(-against)))


def halting_loss(logits: Array, correct: Array, made: int, sums: Sums = FORWARD) -> Array:
    """Return the mean cross-entropy of one row over its first steps."""
    each = [cross_entropy(logits[n], int(correct[n])) for n in range(made)]
    return np.asarray(sums.total(np.array(each)) / made)


def _halt_loss(config: Config, x: Arrays, sums: Sums) -> Arrays:
    logits = x["logits"]
    halted = np.array([first_halt(row, float(config["threshold"])) for row in logits], dtype=np.int64)
    made = np.maximum(halted, x["least"])
    rows = zip(logits, x["correct"], made, strict=True)
    losses = [halting_loss(row, correct, int(steps), sums) for row, correct, steps in rows]
    return {"halted": halted, "losses": np.array(losses, dtype=logits.dtype)}


ANSWERS: Final[Mapping[Op, Function]] = {Op.HALT_LOSS: _halt_loss}
