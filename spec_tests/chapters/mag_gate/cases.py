"""Stored cases of the gate."""

from typing import Final

from spec_tests.drawing.inputs import normal
from spec_tests.port import Array, Op
from spec_tests.vectors.source import Family

_MAG: Final = Family("MAG", Op.MAG_GATE)


def _branches(seed: int, batch: int = 2, time: int = 3, dim: int = 4) -> dict[str, Array]:
    names = ("attention", "memory", "logits")
    return {name: 2.0 * normal(seed + i, batch, time, dim) for i, name in enumerate(names)}


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
    _MAG.case(
        6,
        "MAG-5 MAG-7",
        "attention scaled by the squashed memory, with a floor",
        {"kind": "gated_attention", "floor": 0.25},
        _branches(950),
        {"gate": normal(953, 2, 3, 4), "joined": normal(954, 2, 3, 4)},
    ),
    _MAG.case(
        7,
        "MAG-5 MAG-8",
        "the product, beside a floor that it does not have",
        {"kind": "product", "floor": 0.25},
        _branches(955),
        {"gate": normal(958, 2, 3, 4), "joined": normal(959, 2, 3, 4)},
    ),
    _MAG.case(
        8,
        "MAG-3 MAG-5 MAG-9",
        "attention and memory in shares, with the floor under the memory's",
        {"kind": "convex_memory", "floor": 0.25},
        _branches(2560),
        {"gate": normal(2563, 2, 3, 4), "joined": normal(2564, 2, 3, 4)},
    ),
    _MAG.case(
        101,
        "MAG-2 MAG-5",
        "the gradient of the gate itself",
        {"kind": "convex", "floor": 0.125},
        _branches(1701),
        {"gate": normal(1704, 2, 3, 4), "joined": normal(1705, 2, 3, 4)},
    ),
    _MAG.case(102, "MAG-1 MAG-6", "seventy tokens", {"kind": "source", "floor": 0.0}, _branches(1711, 1, 70, 3)),
    _MAG.case(103, "MAG-2 MAG-6", "six rows of twenty", {"kind": "convex", "floor": 0.25}, _branches(1721, 6, 2, 20)),
)
