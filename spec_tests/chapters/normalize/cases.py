"""Stored cases of normalisation."""

from typing import Final

import numpy as np

from spec_tests.drawing.inputs import normal, scaled
from spec_tests.port import Op
from spec_tests.vectors.source import Family

_NORM: Final = Family("NORM", Op.L2_NORMALIZE)

STORED: Final = (
    _NORM.case(
        1,
        "NORM-1",
        "eps of the order of the vectors, so that eps and eps^2 differ",
        {"eps": 0.25},
        {"x": 0.25 * normal(20, 4, 6)},
    ),
    _NORM.case(
        2,
        "NORM-2",
        "a zero vector among others, with gradients: at zero 1/eps times the cotangent",
        {"eps": 0.01},
        {"x": normal(21, 3, 5) * np.array([1.0, 0.0, 0.02])[:, None]},
        {"y": normal(22, 3, 5)},
    ),
    _NORM.case(
        3,
        "NORM-3",
        "entries of 1e20, whose squares single precision has not, and of 1e-20, whose squares underflow",
        {"eps": 1e-6},
        {"x": scaled(23, (1e20,), 6)},
    ),
    _NORM.case(
        4,
        "NORM-3",
        "entries of 1e-20: the direction is kept, the length is x/eps",
        {"eps": 1e-6},
        {"x": scaled(24, (1e-20,), 6)},
        beside=True,
    ),
    _NORM.case(5, "NORM-1", "vectors of one entry", {"eps": 0.25}, {"x": normal(25, 5, 1)}),
)
