"""Stored cases of Newton-Schulz."""

from typing import Final

import numpy as np

from spec_tests.drawing.inputs import normal, scaled
from spec_tests.port import PROFILES, Numerics, Op
from spec_tests.vectors.source import Family

_NS: Final = Family("NS", Op.NEWTON_SCHULZ, tuple(Numerics))
_NS_EVERYWHERE: Final = Family("NS", Op.NEWTON_SCHULZ)
"""Cases of size and of values, which the profiles of hardware need not repeat."""


def _set(name: str, steps: int) -> dict[str, str | int]:
    return {"coefficients": name, "steps": steps}


def _clamped(name: str, steps: int) -> dict[str, str | int]:
    return {**_set(name, steps), "start": "clamp"}


STORED: Final = (
    _NS.case(
        1,
        "NS-1 NS-7 NS-9",
        "wide matrices whose norms differ by 10^4: each has its own norm, and scale does not matter",
        _set("quintic", 5),
        {"matrix": scaled(1, (1.0, 100.0, 0.01), 3, 5)},
    ),
    _NS.case(
        2,
        "NS-1 NS-3 NS-4",
        "square: a product from the other side, or X X for X X^T, has the right shape and is wrong",
        _set("quintic", 5),
        {"matrix": normal(2, 2, 4, 4)},
    ),
    _NS.case(3, "NS-1 NS-2 NS-4", "more rows than columns", _set("quintic", 5), {"matrix": normal(3, 2, 6, 3)}),
    _NS.case(4, "NS-1", "one step: the count of steps", _set("quintic", 1), {"matrix": normal(4, 2, 3, 4)}),
    _NS.case(5, "NS-1 NS-5", "the set cubic, square", _set("cubic", 7), {"matrix": normal(5, 2, 4, 4)}),
    _NS.case(
        6,
        "NS-1 NS-5",
        "the published set past its end, where its last step repeats",
        _set("polar_express", 10),
        {"matrix": normal(6, 2, 3, 5)},
    ),
    _NS.case(
        7,
        "NS-1 NS-2",
        "the first steps of the published set, tall",
        _set("polar_express", 3),
        {"matrix": normal(7, 2, 5, 3)},
    ),
    _NS.case(
        8,
        "NS-6",
        "zero gives zero, and a finite gradient",
        _set("quintic", 2),
        {"matrix": np.zeros((2, 3, 4))},
        {"orthogonal": normal(18, 2, 3, 4)},
        numerics=PROFILES,
    ),
    _NS.case(
        9,
        "NS-1 NS-7",
        "no step: only the normalisation, of norms 1e-20 (whose square single precision has not), 1e-9, 1 and 1e20",
        _set("quintic", 0),
        {"matrix": scaled(9, (1e-20, 1e-9, 1.0, 1e20), 2, 3)},
        numerics=PROFILES,
    ),
    _NS.case(
        10,
        "NS-7",
        "norms of 1e-20 and 1e20 through two steps, apart from each other",
        _set("cubic", 2),
        {"matrix": scaled(10, (1e-20, 1e20), 3, 3)},
        numerics=PROFILES,
    ),
    _NS.case(
        11,
        "NS-8",
        "the gradient through three steps and the norm, wide",
        _set("quintic", 3),
        {"matrix": normal(11, 2, 3, 4)},
        {"orthogonal": normal(12, 2, 3, 4)},
        numerics=PROFILES,
    ),
    _NS.case(
        12,
        "NS-2 NS-8",
        "the gradient through the published set, tall",
        _set("polar_express", 3),
        {"matrix": normal(13, 2, 4, 3)},
        {"orthogonal": normal(14, 2, 4, 3)},
        numerics=PROFILES,
    ),
    _NS.case(13, "NS-1", "a single row and a batch of one", _set("quintic", 3), {"matrix": normal(15, 1, 1, 4)}),
    _NS.case(
        14,
        "NS-11",
        "a clamped start, of norms far below, just above and far above 1e-7",
        _clamped("quintic", 3),
        {"matrix": scaled(16, (1e-9, 5e-8, 1.0), 3, 4)},
    ),
    _NS.case(
        15,
        "NS-8 NS-11",
        "the gradient through a clamped start: below 1e-7 the norm does not count",
        _clamped("quintic", 1),
        {"matrix": scaled(17, (1e-8, 1e-6), 3, 4)},
        {"orthogonal": normal(19, 2, 3, 4)},
        numerics=PROFILES,
    ),
    _NS.case(
        16,
        "NS-2 NS-12",
        "the first steps of the published algorithm, whose start has a cushion too, tall",
        _set("polar_express_paper", 3),
        {"matrix": normal(20, 2, 5, 3)},
    ),
    _NS.case(
        17,
        "NS-12",
        "one step of the published algorithm with a clamped start",
        _clamped("polar_express_paper", 1),
        {"matrix": scaled(21, (5e-8, 1.0), 3, 3)},
    ),
    _NS_EVERYWHERE.case(101, "NS-1 NS-9", "six matrices", _set("cubic", 3), {"matrix": normal(101, 6, 2, 3)}),
    _NS_EVERYWHERE.case(102, "NS-1 NS-2", "130 rows of two", _set("quintic", 5), {"matrix": normal(102, 1, 130, 2)}),
    _NS_EVERYWHERE.case(103, "NS-1", "130 columns in two rows", _set("quintic", 5), {"matrix": normal(103, 1, 2, 130)}),
    _NS_EVERYWHERE.case(
        104,
        "NS-8",
        "the gradient through the set cubic",
        _set("cubic", 3),
        {"matrix": normal(104, 2, 3, 4)},
        {"orthogonal": normal(105, 2, 3, 4)},
    ),
    _NS_EVERYWHERE.case(
        105, "NS-5 NS-11", "the set cubic, clamped", _clamped("cubic", 3), {"matrix": scaled(106, (5e-8, 1.0), 2, 3)}
    ),
    _NS_EVERYWHERE.case(
        106,
        "NS-1 NS-11",
        "the published set, clamped",
        _clamped("polar_express", 2),
        {"matrix": scaled(107, (5e-8, 1.0), 3, 2)},
    ),
    _NS_EVERYWHERE.case(
        107,
        "NS-8 NS-12",
        "the gradient through the published algorithm",
        _set("polar_express_paper", 2),
        {"matrix": normal(108, 2, 2, 3)},
        {"orthogonal": normal(109, 2, 2, 3)},
    ),
)
