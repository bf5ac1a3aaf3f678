"""Stored cases of ridge regression."""

from typing import Final

import numpy as np

from spec_tests.chapters.ridge_scan.calls import case, cotangents, inside
from spec_tests.port import Op
from spec_tests.vectors.source import Family

_RIDGE: Final = Family("RIDGE", Op.RIDGE_SCAN)
_FRESH: Final = case(seed=72_000, time=6, heads=1)
_MARKED: Final = inside(72_020, time=6, heads=1) | {"reset": np.array([[0, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 1]])}
_SLOPED: Final = inside(72_040, time=4, heads=2, features=3, values=3)
_NOTHING: Final = inside(72_060, time=0, heads=1)

STORED: Final = (
    _RIDGE.case(1, "RULE-14 RULE-22", "a row at the start of its document, one inside it", {}, _FRESH),
    _RIDGE.case(2, "RULE-14 RULE-22", "documents that begin inside the call", {}, _MARKED),
    _RIDGE.case(
        3, "RULE-14 RULE-24", "derivatives, as many features as values", {}, _SLOPED, cotangents(_SLOPED, 72_049)
    ),
    _RIDGE.case(4, "RULE-23", "a call without tokens returns its state", {}, _NOTHING),
)
