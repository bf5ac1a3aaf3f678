"""docs/spec/gain.md, against AdamW written out in float64."""

from functools import cache
from typing import Final

import numpy as np
import pytest

from spec_tests.contract.by_loops import assert_results
from spec_tests.contract.driver import precisions, run
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Numerics, Op, Port, Scalar
from spec_tests.tally import where_declared

ADAMW: Final[dict[str, Scalar]] = {"optimizer": "adamw", "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.01}
START = np.log(np.array([7.0, 1.0, 0.3, 2.0]))
# Mostly one-signed, on every scale: gains that should travel equally far, with noise.
PUSHES = np.array([1.0, 0.01, 30.0, 1.0]) * (1.0 + 0.5 * generator(1).standard_normal((300, len(START))))


@cache
def trajectory(learning_rate: float) -> Array:
    """Return exp(log_gain) after each AdamW step (arXiv 1711.05101, Algorithm 2)."""
    value = START.copy()
    mean, square = np.zeros_like(value), np.zeros_like(value)
    gains = []
    for n, gradient in enumerate(PUSHES, start=1):
        value = value * (1 - learning_rate * 0.01)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.95 * square + 0.05 * gradient**2
        value = value - learning_rate * (mean / (1 - 0.9**n)) / (np.sqrt(square / (1 - 0.95**n)) + 1e-8)
        gains.append(np.exp(value))
    return np.stack(gains)


def gains(port: Port, gradients: Array, learning_rate: float, numerics: Numerics) -> Array:
    inputs = {"log_gain": START, "gradient": gradients}
    return run(port, Op.OPTIMIZER_STEP, numerics, inputs, learning_rate=learning_rate, **ADAMW)["gain"]


@pytest.mark.spec("GAIN-1")
def test_the_effective_gain_follows_the_float64_trajectory_within_one_percent(port: Port) -> None:
    for numerics in precisions(port):
        for learning_rate in (1e-4, 1e-3):
            with where_declared():
                expected = trajectory(learning_rate)
                assert np.abs(expected[-1] / expected[0] - 1.0).min() > 0.02
                error = np.abs(gains(port, PUSHES, learning_rate, numerics) / expected - 1.0)
                assert error.max() <= 0.01, f"lr {learning_rate} in {numerics}: off by {error.max():.1%}"


@pytest.mark.spec("GAIN-2")
def test_a_small_step_moves_the_gain(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            moved = gains(port, np.ones((2, len(START))), 1e-4, numerics)
            assert (moved[0] < np.exp(START)).all(), f"the first step is lost in {numerics}"
            assert (moved[1] < moved[0]).all(), f"the second step is lost in {numerics}"


@pytest.mark.spec("GAIN-1")
def test_every_gain_of_many_is_moved(port: Port) -> None:
    rng = generator(5)
    inputs = {"log_gain": rng.standard_normal(18), "gradient": rng.standard_normal((3, 18))}
    for numerics in precisions(port):
        with where_declared():
            assert_results(port, Op.OPTIMIZER_STEP, numerics, {**ADAMW, "learning_rate": 1e-2}, inputs)
