"""Stored cases of circularity."""

from typing import Final

import numpy as np

from spec_tests.drawing.inputs import normal
from spec_tests.port import Array, Op
from spec_tests.vectors.source import Family

_FOURIER: Final = Family("FOUR", Op.FOURIER_CONCENTRATION)
_CIRCLE: Final = Family("CIRC", Op.CIRCULAR_FIT)


def _circle(seed: int, count: int, noise: float) -> Array:
    """Return a noisy circle in a plane of three dimensions, off its centre, walked with frequency 2."""
    angle = 2.0 * np.pi * 2 * np.arange(count) / count
    plane, _ = np.linalg.qr(normal(seed, 3, 2))
    points = np.stack([np.cos(angle), np.sin(angle)], -1) @ plane.T
    return np.asarray(2.0 * points + noise * normal(seed + 1, count, 3) + 0.7)


def _permutations(seed: int, count: int, length: int) -> Array:
    return np.argsort(normal(seed, count, length), axis=1)


STORED: Final = (
    _FOURIER.case(
        1,
        "GROK-1 GROK-7",
        "noise: the two strongest frequencies of seven numbers",
        {"top": 2},
        {"embedding": normal(960, 7, 4) + 0.5},
    ),
    _FOURIER.case(
        2,
        "GROK-1 GROK-2 GROK-3",
        "a noisy circle over an even count, whose highest frequency stands alone",
        {"top": 1},
        {"embedding": _circle(961, 8, 0.2)},
    ),
    _CIRCLE.case(
        1,
        "GROK-4 GROK-5 GROK-6 GROK-7",
        "a noisy circle in a tilted plane, walked twice, against three permutations",
        {},
        {"embedding": _circle(963, 9, 0.15), "permutations": _permutations(965, 3, 9)},
    ),
    _CIRCLE.case(
        2,
        "GROK-4 GROK-5 GROK-6",
        "an ellipse-like cloud with another order",
        {},
        {"embedding": normal(966, 7, 3) * np.array([2.0, 1.2, 0.3]), "permutations": _permutations(967, 2, 7)},
    ),
    _CIRCLE.case(
        101,
        "GROK-4 GROK-5",
        "a plane as it is: two columns",
        {},
        {"embedding": normal(1801, 9, 2) * np.array([2.0, 1.2]), "permutations": _permutations(1802, 2, 9)},
    ),
)
