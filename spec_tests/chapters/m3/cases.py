"""Stored cases of M3 mixing."""

from typing import Final

import numpy as np

from spec_tests.drawing.inputs import normal
from spec_tests.port import Array, Op
from spec_tests.vectors.source import Family

_M3: Final = Family("M3", Op.M3_MIX)


def _mix(seed: int, crossings: tuple[int, ...], rows: int = 3, columns: int = 4) -> dict[str, Array]:
    return {
        "previous": normal(seed, len(crossings), rows, columns),
        "initial": normal(seed + 1, rows, columns),
        "crossings": np.array(crossings),
        "alpha_logit": np.array(0.9),
    }


STORED: Final = (
    _M3.case(
        1,
        "M3-1 M3-2 M3-5",
        "rows before, at and after the end of the warmup",
        {"warmup_crossings": 8},
        _mix(300, (0, 3, 7, 8, 100)),
    ),
    _M3.case(2, "M3-1 M3-2", "no warmup at all", {"warmup_crossings": 0}, _mix(302, (0, 5)), beside=True),
    _M3.case(
        3,
        "M3-3 M3-4",
        "gradients: none to the previous state, to the logit from rows past the warmup only",
        {"warmup_crossings": 4},
        _mix(304, (1, 4, 9)),
        {"mixed": normal(306, 3, 3, 4)},
    ),
    _M3.case(
        4,
        "M3-3 M3-4",
        "gradients where every row is in the warmup: the logit gets none",
        {"warmup_crossings": 4},
        _mix(307, (0, 3)),
        {"mixed": normal(309, 2, 3, 4)},
    ),
    _M3.case(5, "M3-2 CALL-2", "a batch of one", {"warmup_crossings": 4}, _mix(310, (2,))),
    _M3.case(
        101,
        "M3-3",
        "the gradient of the mixing itself: the logit has one past the warmup",
        {"warmup_crossings": 4},
        _mix(1601, (1, 6)),
        {"mixing": normal(1604, 2), "mixed": normal(1605, 2, 3, 4)},
    ),
    _M3.case(102, "M3-1 M3-2", "states of 130 rows", {"warmup_crossings": 4}, _mix(1611, (2, 5), 130, 2)),
    _M3.case(103, "M3-1 M3-2", "states of 130 columns", {"warmup_crossings": 2}, _mix(1621, (0, 5), 2, 130)),
)
