"""Stored cases of the learned gain."""

from typing import Final

import numpy as np

from spec_tests.drawing.inputs import normal
from spec_tests.port import Array, Op, Scalar
from spec_tests.vectors.source import Family

_GAIN: Final = Family("GAIN", Op.OPTIMIZER_STEP)
ADAMW: Final[dict[str, Scalar]] = {"optimizer": "adamw", "beta1": 0.9, "beta2": 0.95, "eps": 1e-8}
START: Final = np.log(np.array([5.0, 1.0, 0.3, 2.0]))


def _noise(seed: int, steps: int) -> Array:
    return 1.0 + 0.5 * normal(seed, steps, len(START))


STORED: Final = (
    _GAIN.case(
        1,
        "GAIN-1",
        "forty steps of noisy gradients with weight decay",
        {**ADAMW, "learning_rate": 1e-3, "weight_decay": 0.01},
        {"log_gain": START, "gradient": _noise(800, 40)},
    ),
    _GAIN.case(
        2,
        "GAIN-2",
        "small steps on gains of very different size, which bfloat16 rounds away",
        {**ADAMW, "learning_rate": 1e-4, "weight_decay": 0.0},
        {"log_gain": START, "gradient": _noise(801, 5)},
    ),
    _GAIN.case(
        3,
        "GAIN-1",
        "gradients of the order of eps, where it matters that eps is outside the root",
        {**ADAMW, "learning_rate": 1e-3, "weight_decay": 0.1, "eps": 1e-3},
        {"log_gain": START + 0.5, "gradient": 1e-3 * _noise(802, 12)},
    ),
    _GAIN.case(
        101,
        "GAIN-1",
        "seventy steps without momentum: beta1 is 0",
        {**ADAMW, "beta1": 0.0, "learning_rate": 1e-3, "weight_decay": 0.01},
        {"log_gain": START[:2], "gradient": _noise(1901, 70)[:, :2]},
    ),
    _GAIN.case(
        102,
        "GAIN-1",
        "a second moment of the last gradient alone: beta2 is 0",
        {**ADAMW, "beta2": 0.0, "learning_rate": 1e-3, "weight_decay": 0.0},
        {"log_gain": START, "gradient": _noise(1902, 9)},
    ),
    _GAIN.case(
        103,
        "GAIN-1",
        "slow moments, other ones than usual",
        {**ADAMW, "beta1": 0.75, "beta2": 0.999, "learning_rate": 1e-2, "weight_decay": 0.0},
        {"log_gain": START, "gradient": _noise(1903, 9)},
    ),
    _GAIN.case(
        104,
        "GAIN-1",
        "a learning rate of 0 moves nothing",
        {**ADAMW, "learning_rate": 0.0, "weight_decay": 0.5},
        {"log_gain": START, "gradient": _noise(1904, 4)},
        beside=True,
    ),
)
