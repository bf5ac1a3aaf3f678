"""Faults of the learned gain."""

from typing import Final

import numpy as np

from spec_tests.faults.fault import Arrays, Config, Fault, Wrap, with_outputs
from spec_tests.port import Op, round_to_bf16


def _adamw_in_bf16(raw: bool) -> Wrap:
    """Store the gain, or its logarithm, in bfloat16 between steps."""

    def change(config: Config, inputs: Arrays, _: Arrays) -> Arrays:
        rate, beta1, beta2 = (float(config[key]) for key in ("learning_rate", "beta1", "beta2"))
        log_gain = inputs["log_gain"].astype(np.float64)
        value = round_to_bf16(np.exp(log_gain) if raw else log_gain).astype(np.float64)
        mean, square, gains = 0.0 * value, 0.0 * value, []
        for n, by_log in enumerate(inputs["gradient"].astype(np.float64), start=1):
            gradient = by_log / value if raw else by_log
            mean = beta1 * mean + (1 - beta1) * gradient
            square = beta2 * square + (1 - beta2) * gradient**2
            step = (mean / (1 - beta1**n)) / (np.sqrt(square / (1 - beta2**n)) + float(config["eps"]))
            value = value * (1 - rate * float(config["weight_decay"])) - rate * step
            value = round_to_bf16(value).astype(np.float64)
            gains.append(value if raw else np.exp(value))
        return {"gain": np.stack(gains)}

    return with_outputs(change)


GAIN = "test_gain:test_the_effective_gain_follows_the_float64_trajectory_within_one_percent"


def _gain_without_exponential(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return {"gain": np.log(outputs["gain"])}


def _plain_descent(config: Config, inputs: Arrays, _: Arrays) -> Arrays:
    """The fallback called AdamW that moves by learning rate times gradient."""
    value, gains = inputs["log_gain"].astype(np.float64), []
    for gradient in inputs["gradient"]:
        value = value - float(config["learning_rate"]) * gradient
        gains.append(np.exp(value))
    return {"gain": np.stack(gains)}


STORED_IN_BF16 = "source: the gain, or its logarithm, stored in bfloat16"

FAULTS: Final[tuple[Fault, ...]] = (
    Fault("gain-logarithm-in-bf16", "GAIN-1b", Op.OPTIMIZER_STEP, GAIN, _adamw_in_bf16(raw=False), STORED_IN_BF16),
    Fault("gain-raw-in-bf16", "GAIN-1b", Op.OPTIMIZER_STEP, GAIN, _adamw_in_bf16(raw=True), STORED_IN_BF16),
    Fault(
        "gain-step-rounded-away",
        "GAIN-2",
        Op.OPTIMIZER_STEP,
        "test_gain:test_a_small_step_moves_the_gain",
        _adamw_in_bf16(raw=False),
        STORED_IN_BF16,
    ),
    Fault(
        "gain-without-exponential",
        "GAIN-1a",
        Op.OPTIMIZER_STEP,
        GAIN,
        with_outputs(_gain_without_exponential),
        "porting: a value in another space",
    ),
    Fault(
        "gain-held-by-a-circuit-breaker",
        "GAIN-1a",
        Op.OPTIMIZER_STEP,
        GAIN,
        with_outputs(lambda _, __, outputs: {"gain": np.minimum(outputs["gain"], 6.0)}),
        "source: a circuit breaker holds the gain at six",
    ),
    Fault(
        "gain-plain-descent",
        "GAIN-1a",
        Op.OPTIMIZER_STEP,
        GAIN,
        with_outputs(_plain_descent),
        "source: a fallback called AdamW is plain descent",
    ),
)
