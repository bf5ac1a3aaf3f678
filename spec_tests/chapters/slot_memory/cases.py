"""Stored cases of the memory of slots."""

from typing import Final

import numpy as np

from spec_tests.chapters.slot_memory.calls import axes, call
from spec_tests.drawing.inputs import FAR_AND_MANY, PHASES, normal
from spec_tests.port import Op
from spec_tests.vectors.source import Family

_SLOT: Final = Family("SLOT", Op.SLOT_MEMORY)

# No two slots weigh the same: which of them counts as read would be a matter of rounding, and of the order of slots.
_EXACT: Final = {
    "x": np.concatenate([axes(1, -1, 1, -1, 1), axes(1, 2, -1, 2, 0), axes(2, 1, 2, 1, 2)]),
    "slots": np.concatenate([axes(1, 1, 1), axes(1, 1, 1), axes(1, -2, -2)]) * np.array([[1.0], [2.0], [3.0]]),
    "read_at": np.array([[4, 5, 3], [4, 5, 3], [4, 5, 3]]),
    "position": np.array([[8, 9, 10, 11, 12], [0, 1, 2, 3, 4], [8, 9, 10, 11, 12]]),
}

STORED: Final = (
    _SLOT.case(
        1,
        "SLOT-1 SLOT-2 SLOT-3 SLOT-4 SLOT-5 SLOT-6 SLOT-7 SLOT-8",
        "rows out of phase, slots in use and not, documents that end inside the call",
        {"threshold": 0.5},
        call(2200, PHASES),
    ),
    _SLOT.case(
        2,
        "SLOT-2 SLOT-3 SLOT-5",
        "every token is new: with a threshold of 0 slots are written in turn",
        {"threshold": 0.0},
        call(2210, PHASES[:2], count=3, dim=5),
    ),
    _SLOT.case(
        3,
        "SLOT-9",
        "gradients through slots, tokens and weights, over the start of a document",
        {"threshold": 0.3},
        call(2220, PHASES[:, :5], count=2),
        {"y": normal(2223, 3, 5, 3), "slots": normal(2224, 3, 2, 3), "novelty": normal(2225, 3, 5)},
    ),
    _SLOT.case(
        4,
        "SLOT-1 SLOT-2 SLOT-3 SLOT-4 SLOT-5 SLOT-6",
        "novelties of 0, 1 and 2 at a threshold of 1, and a memory that stays empty",
        {"threshold": 1.0},
        _EXACT,
    ),
    _SLOT.case(
        101,
        "SLOT-6 SLOT-7",
        "a row from beyond position 100,000 with a dozen documents",
        {"threshold": 0.6},
        call(2230, FAR_AND_MANY, count=3, dim=4),
    ),
    _SLOT.case(
        102,
        "SLOT-4 SLOT-8",
        "six rows of twenty entries",
        {"threshold": 0.8},
        call(2240, np.tile(PHASES[:, :4], (2, 1)), dim=20),
    ),
)
