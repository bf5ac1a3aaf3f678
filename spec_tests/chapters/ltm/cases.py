"""Stored cases of the running mean."""

from typing import Final

import numpy as np

from spec_tests.drawing.inputs import FAR_AND_MANY, PHASES, normal
from spec_tests.port import Array, Op
from spec_tests.vectors.source import Family

_LTM: Final = Family("LTM", Op.LTM_SCAN)


def _mean(seed: int, position: Array, dim: int = 3) -> dict[str, Array]:
    return {
        "x": normal(seed, *position.shape, dim),
        "carry": normal(seed + 1, len(position), dim),
        "position": position,
    }


STORED: Final = (
    _LTM.case(
        1,
        "LTM-1 LTM-2 LTM-3 LTM-4",
        "rows out of phase with a carry, documents that end inside the call",
        {"decay": 0.75},
        _mean(910, PHASES),
    ),
    _LTM.case(2, "LTM-1 LTM-3", "one token a call, a slow mean", {"decay": 0.984375}, _mean(913, PHASES[:2, :1])),
    _LTM.case(
        3,
        "LTM-5",
        "gradients through every step and into the carry, over the start of a document",
        {"decay": 0.5},
        _mean(916, PHASES[:, :5]),
        {"y": normal(918, 3, 5, 3), "carry": normal(919, 3, 3)},
    ),
    _LTM.case(
        101,
        "LTM-1 LTM-2",
        "a row from beyond position 100,000 with a dozen documents",
        {"decay": 0.9},
        _mean(1201, FAR_AND_MANY, 5),
    ),
    _LTM.case(
        102,
        "LTM-1 LTM-4",
        "six rows of twenty entries",
        {"decay": 0.7},
        _mean(1211, np.tile(PHASES[:, :4], (2, 1)), 20),
    ),
    _LTM.case(
        103, "LTM-1", "a decay of exactly 0: each output is its input", {"decay": 0.0}, _mean(1221, PHASES[:, :4])
    ),
)
