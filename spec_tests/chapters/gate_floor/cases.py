"""Stored cases of floors: each step of a schedule, and tokens with floors of their own."""

from typing import Final

import numpy as np

from spec_tests.drawing.inputs import generator, normal
from spec_tests.port import Array, Op
from spec_tests.vectors.source import Family

_FLOOR: Final = Family("FLOOR", Op.GATE_FLOOR)
SOURCE: Final = {"until": np.array([10_000, 30_000]), "before": np.array([0.3, 0.1])}
"""The schedule of a source system; its last floor is .05."""


def gates(seed: int, batch: int = 2, time: int = 4, dim: int = 3) -> dict[str, Array]:
    """Return raw gates of all sizes, with a floor of its own for each token."""
    rng = generator(seed)
    own = np.where(rng.random((batch, time)) < 0.3, 0.0, rng.choice([0.03, 0.2, 0.3, 0.8], (batch, time)))
    return {"raw": rng.random((batch, time, dim)) ** 2, "own": own, **SOURCE}


STORED: Final = (
    _FLOOR.case(
        1,
        "FLOOR-1 FLOOR-2 FLOOR-3 FLOOR-4",
        "before the first border, with gradients",
        {"step": 9_999, "last": 0.05},
        gates(2510),
        {"gate": normal(2511, 2, 4, 3)},
    ),
    _FLOOR.case(2, "FLOOR-1 FLOOR-2 FLOOR-4", "at the first border", {"step": 10_000, "last": 0.05}, gates(2512)),
    _FLOOR.case(3, "FLOOR-1 FLOOR-4", "behind the last border", {"step": 30_000, "last": 0.05}, gates(2513)),
    _FLOOR.case(
        101,
        "FLOOR-1 FLOOR-3 FLOOR-5",
        "no border, many tokens",
        {"step": 0, "last": 0.25},
        {**gates(2514, 1, 40, 2), "until": np.zeros(0, dtype=np.int64), "before": np.zeros(0)},
    ),
)
