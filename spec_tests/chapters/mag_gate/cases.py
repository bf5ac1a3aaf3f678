"""Stored cases of the gate."""

from typing import Final

from spec_tests.drawing.inputs import normal
from spec_tests.port import Array, Op
from spec_tests.vectors.source import Family

_MAG: Final = Family("MAG", Op.MAG_GATE)


def _branches(seed: int) -> dict[str, Array]:
    names = ("attention", "memory", "logits")
    return {name: 2.0 * normal(seed + i, 2, 3, 4) for i, name in enumerate(names)}


STORED: Final = (
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
