"""Cases of what stands around the memory: StableMax, running mean, gate, halting, circularity."""

from typing import Final

import numpy as np

from spec_tests.port import Array, Op
from spec_tests.vectors.source import Family
from spec_tests.vectors.sources_matrices import normal
from spec_tests.vectors.sources_sequences import PHASES

_STAB: Final = Family("STAB", Op.STABLEMAX)
_LTM: Final = Family("LTM", Op.LTM_SCAN)
_MAG: Final = Family("MAG", Op.MAG_GATE)
_ACT: Final = Family("ACT", Op.ACT_HALT)
_FOURIER: Final = Family("FOUR", Op.FOURIER_CONCENTRATION)
_CIRCLE: Final = Family("CIRC", Op.CIRCULAR_FIT)

STABLEMAX: Final = (
    _STAB.case(1, "STAB-1 STAB-5", "logits of both signs, rows by themselves", {}, {"x": 3.0 * normal(900, 4, 6)}),
    _STAB.case(
        2,
        "STAB-2",
        "a logit of -1e6 beside others: no floor under a probability",
        {},
        {"x": np.array([[0.0, -1e6, 1.0], [-1e6, -2e6, -3e6]])},
    ),
    _STAB.case(
        3,
        "STAB-3",
        "logits of 1e30 and -1e30: no exponential, no overflow of a sum",
        {},
        {"x": np.array([[1e30, -1e30, 1.0, 1e30], [-1e30, -1e30, -2.0, 0.5]])},
    ),
    _STAB.case(
        4,
        "STAB-4",
        "gradients in both branches, and at 0 and 1 exactly",
        {},
        {"x": np.array([[0.0, 1.0, -1.0, 2.5], [-0.5, -3.0, 0.0, 0.25]])},
        {"probabilities": normal(901, 2, 4)},
    ),
    _STAB.case(
        5,
        "STAB-2",
        "a thousand logits, half of them small: every probability is far below what a floor would leave it",
        {},
        {"x": np.where(np.arange(1024) % 2, -9.0, 0.25 * np.abs(normal(902, 1, 1024)))},
    ),
)


def _mean(seed: int, position: Array) -> dict[str, Array]:
    return {
        "x": normal(seed, *position.shape, 3),
        "carry": normal(seed + 1, len(position), 3),
        "position": position,
    }


RUNNING_MEAN: Final = (
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


def _branches(seed: int) -> dict[str, Array]:
    names = ("attention", "memory", "logits")
    return {name: 2.0 * normal(seed + i, 2, 3, 4) for i, name in enumerate(names)}


GATES: Final = (
    _MAG.case(
        1,
        "MAG-1 MAG-3 MAG-4 MAG-6",
        "the memory scaled by the squashed attention, with a floor",
        {"kind": "source", "floor": 0.25},
        _branches(930),
    ),
    _MAG.case(
        2,
        "MAG-2 MAG-3 MAG-4 MAG-6",
        "attention and memory in shares, with a floor",
        {"kind": "convex", "floor": 0.25},
        _branches(934),
    ),
    _MAG.case(3, "MAG-2", "shares without a floor", {"kind": "convex", "floor": 0.0}, _branches(938)),
    _MAG.case(
        4,
        "MAG-3 MAG-5",
        "gradients of the shares, in gates near their floor too",
        {"kind": "convex", "floor": 0.5},
        _branches(942),
        {"joined": normal(945, 2, 3, 4)},
    ),
    _MAG.case(
        5,
        "MAG-5",
        "gradients of the squashed attention",
        {"kind": "source", "floor": 0.125},
        _branches(946),
        {"joined": normal(949, 2, 3, 4)},
    ),
)

# Rows that halt early, in the middle, at the last step because nothing is left, and never reach the threshold.
_HALTING: Final = np.array(
    [
        [0.7, 0.4, 0.3, 0.2, 0.1],
        [0.2, 0.3, 0.3, 0.4, 0.5],
        [0.1, 0.2, 0.3, 0.2, 0.6],
        [0.05, 0.1, 0.1, 0.05, 0.1],
    ]
)

HALTING: Final = (
    _ACT.case(
        1,
        "ACT-1 ACT-2 ACT-3 ACT-4 ACT-6",
        "rows that halt at different steps, one that never reaches the threshold",
        {"threshold": 0.95},
        {"probabilities": _HALTING},
    ),
    _ACT.case(2, "ACT-1 ACT-2", "a low threshold on the same rows", {"threshold": 0.45}, {"probabilities": _HALTING}),
    _ACT.case(
        3,
        "ACT-4 ACT-5",
        "gradients of the cost and of the weights",
        {"threshold": 0.95},
        {"probabilities": _HALTING},
        {"weights": normal(950, 4, 5), "ponder": normal(951, 4)},
    ),
)


def _circle(seed: int, count: int, noise: float) -> Array:
    """Return a noisy circle in a plane of three dimensions, off its centre, walked with frequency 2."""
    angle = 2.0 * np.pi * 2 * np.arange(count) / count
    plane, _ = np.linalg.qr(normal(seed, 3, 2))
    points = np.stack([np.cos(angle), np.sin(angle)], -1) @ plane.T
    return np.asarray(2.0 * points + noise * normal(seed + 1, count, 3) + 0.7)


def _permutations(seed: int, count: int, length: int) -> Array:
    return np.argsort(normal(seed, count, length), axis=1)


CIRCULARITY: Final = (
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
)

AROUND: Final = (*STABLEMAX, *RUNNING_MEAN, *GATES, *HALTING, *CIRCULARITY)
