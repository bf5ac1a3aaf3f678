"""Stored cases of halting."""

from typing import Final

import numpy as np

from spec_tests.drawing.inputs import normal
from spec_tests.port import Op
from spec_tests.vectors.source import Family

_ACT: Final = Family("ACT", Op.ACT_HALT)

# Rows that halt early, in the middle, at the last step because nothing is left, and never reach the threshold.
_HALTING: Final = np.array(
    [
        [0.7, 0.4, 0.3, 0.2, 0.1],
        [0.2, 0.3, 0.3, 0.4, 0.5],
        [0.1, 0.2, 0.3, 0.2, 0.6],
        [0.05, 0.1, 0.1, 0.05, 0.1],
    ]
)

STORED: Final = (
    _ACT.case(
        1,
        "ACT-1 ACT-2 ACT-3 ACT-4 ACT-6",
        "rows that halt at different steps, one that never reaches the threshold",
        {"threshold": 0.95},
        {"probabilities": _HALTING},
    ),
    _ACT.case(2, "ACT-1 ACT-2", "a low threshold on the same rows", {"threshold": 0.45}, {"probabilities": _HALTING}),
    _ACT.case(
        3,
        "ACT-4 ACT-5",
        "gradients of the cost and of the weights",
        {"threshold": 0.95},
        {"probabilities": _HALTING},
        {"weights": normal(950, 4, 5), "ponder": normal(951, 4)},
    ),
    _ACT.case(
        101,
        "ACT-1 ACT-3 ACT-6",
        "six rows of seventy steps, all of them taken and few",
        {"threshold": 0.95},
        {"probabilities": np.linspace(0.002, 0.2, 6)[:, None] * (1.0 + 0.1 * np.sin(np.arange(70)))},
    ),
    _ACT.case(
        102, "ACT-1", "a threshold of 0: the first step is the last", {"threshold": 0.0}, {"probabilities": _HALTING}
    ),
)
