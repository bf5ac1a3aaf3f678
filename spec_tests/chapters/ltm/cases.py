"""Stored cases of the running mean."""

from typing import Final

from spec_tests.drawing.inputs import PHASES, normal
from spec_tests.port import Array, Op
from spec_tests.vectors.source import Family

_LTM: Final = Family("LTM", Op.LTM_SCAN)


def _mean(seed: int, position: Array) -> dict[str, Array]:
    return {
        "x": normal(seed, *position.shape, 3),
        "carry": normal(seed + 1, len(position), 3),
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
)
