"""Stored cases of halting that is learned."""

from typing import Final

import numpy as np

from spec_tests.drawing.inputs import normal
from spec_tests.port import Op
from spec_tests.vectors.source import Family

_HALT: Final = Family("HALT", Op.HALT_LOSS)

# Rows that halt at the first step, in the middle, at the last one, and that never are sure.
_LOGITS: Final = np.array(
    [[2.0, -1.0, 0.5, -3.0], [-1.5, 0.25, 1.75, 0.0], [-2.0, -0.5, 0.125, 2.5], [-0.75, -1.25, 0.375, -0.25]]
)
_CORRECT: Final = np.array([[0, 1, 1, 0], [1, 0, 1, 1], [0, 0, 1, 0], [1, 1, 0, 1]])
_INPUTS: Final = {"logits": _LOGITS, "correct": _CORRECT, "least": np.array([1, 2, 1, 1])}

STORED: Final = (
    _HALT.case(
        1,
        "HALT-1 HALT-2 HALT-3 HALT-5 HALT-6",
        "rows that halt at different steps and one that never is sure, with gradients",
        {"threshold": 0.8},
        _INPUTS,
        {"losses": np.array([1.0, -0.5, 2.0, 0.75])},
    ),
    _HALT.case(
        2,
        "HALT-1 HALT-3",
        "a low threshold on the same rows, of which some are learned from for longer",
        {"threshold": 0.3},
        {**_INPUTS, "least": np.array([3, 1, 4, 2])},
        {"losses": np.array([-1.0, 0.25, 0.5, 1.5])},
    ),
    _HALT.case(
        3,
        "HALT-3",
        "logits of 1e4 and -1e4, right and wrong",
        {"threshold": 1.0},
        {"logits": np.array([[1e4, 3.0], [-1e4, 1e4]]), "correct": np.array([[0, 1], [1, 0]]), "least": np.ones(2)},
        {"losses": np.array([1.0, 2.0])},
    ),
    _HALT.case(
        101,
        "HALT-1 HALT-3",
        "six rows of seventy steps",
        {"threshold": 0.95},
        {
            "logits": 1.5 * normal(1601, 6, 70) - 1.0,
            "correct": (normal(1602, 6, 70) > 0).astype(np.int64),
            "least": np.array([1, 70, 33, 2, 8, 1]),
        },
    ),
    _HALT.case(
        102,
        "HALT-1",
        "a threshold of 0: the first step is the last",
        {"threshold": 0.0},
        {**_INPUTS, "logits": _LOGITS - 2.5},
    ),
)
