"""docs/spec/gain.md in numpy: AdamW as printed (arXiv 1711.05101, Algorithm 2) on the logarithm of a gain."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op, Scalar


def gains(log_gain: Array, gradients: Array, config: Mapping[str, Scalar]) -> Array:
    """Return exp(log_gain) after each step; `config` has learning_rate, beta1, beta2, eps and weight_decay."""
    names = ("learning_rate", "beta1", "beta2", "eps", "weight_decay")
    rate, beta1, beta2, eps, weight_decay = (float(config[name]) for name in names)
    value = log_gain.astype(np.result_type(log_gain, gradients))
    mean, square = np.zeros_like(value), np.zeros_like(value)
    after = np.zeros(gradients.shape, value.dtype)
    for n, gradient in enumerate(gradients, start=1):
        mean = beta1 * mean + (1.0 - beta1) * gradient
        square = beta2 * square + (1.0 - beta2) * gradient * gradient
        step = (mean / (1.0 - beta1**n)) / (np.sqrt(square / (1.0 - beta2**n)) + eps)
        value = value - rate * weight_decay * value - rate * step
        after[n - 1] = np.exp(value)
    return after


def _optimizer_step(config: Config, x: Arrays, _: Sums) -> Arrays:
    return {"gain": gains(x["log_gain"], x["gradient"], config)}


ANSWERS: Final[Mapping[Op, Function]] = {Op.OPTIMIZER_STEP: _optimizer_step}
