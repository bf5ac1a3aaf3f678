"""Stored cases of grokking: histories that reach every phase, and a null."""

from dataclasses import replace
from typing import Final

import numpy as np

from spec_tests.chapters.grokking.histories import HISTORIES
from spec_tests.drawing.inputs import normal
from spec_tests.port import Op
from spec_tests.vectors.source import Family

_NULL: Final = Family("CNULL", Op.CONCENTRATION_NULL)
_PHASES: Final = Family("PHASE", Op.GROKKING_PHASES)

STORED: Final = (
    _NULL.case(
        1,
        "GROK-8",
        "a cloud of seven numbers in three orders, the two strongest frequencies",
        {"top": 2},
        {"embedding": normal(970, 7, 4) + 0.5, "permutations": np.argsort(normal(971, 3, 7), axis=1)},
    ),
    _NULL.case(
        101,
        "GROK-8",
        "an even count of numbers in one column",
        {"top": 1},
        {"embedding": normal(972, 10, 1), "permutations": np.argsort(normal(973, 5, 10), axis=1)},
    ),
    *(
        replace(case, revision=2)
        for case in (
            _PHASES.case(1, "GROK-9 GROK-10 GROK-12", "the textbook", {"judge": "null"}, HISTORIES["textbook"]),
            _PHASES.case(2, "GROK-9", "right, wrong once, and right again", {"judge": "null"}, HISTORIES["relapse"]),
            _PHASES.case(
                3, "GROK-11", "the source system's thresholds", {"judge": "source"}, HISTORIES["concentrated"]
            ),
            _PHASES.case(101, "GROK-10", "steps far apart and close by", {"judge": "null"}, HISTORIES["bent"]),
            _PHASES.case(
                102, "GROK-9", "as near to every threshold as float32 tells", {"judge": "null"}, HISTORIES["fine"]
            ),
        )
    ),
    _PHASES.case(103, "GROK-9", "all that is known has more order than chance", {"judge": "null"}, HISTORIES["known"]),
)
