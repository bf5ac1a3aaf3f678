"""Stored cases of telemetry: documents and shards that begin in the call, and before it."""

from typing import Final

import numpy as np

from spec_tests.drawing.inputs import generator, normal
from spec_tests.port import Array, Op
from spec_tests.vectors.source import Family

_TOLD: Final = Family("TELE", Op.MEMORY_TELEMETRY)


def told(
    seed: int, batch: int = 3, time: int = 4, heads: int = 2, values: int = 3, features: int = 5
) -> dict[str, Array]:
    """Return a call after which documents are 2, 9, 16, ... tokens long; gates and tanh in all of their regions."""
    rng = generator(seed)
    shape = (batch, heads, values, features)
    initial, before = normal(seed + 1, *shape[1:]), normal(seed + 2, *shape)
    # Away from the borders of the shares, 0.1, 0.4, 0.6 and 0.9, in every precision.
    raw = rng.choice([0.03125, 0.07, 0.25, 0.45, 0.5, 0.58, 0.75, 0.93, 0.99], (batch, time, 6))
    return {
        "before": before,
        "after": before + 0.3 * normal(seed + 3, *shape),
        "momentum": 0.5 * normal(seed + 4, *shape),
        "initial": initial,
        "lengths": 2 + 7 * np.arange(batch),
        "reads": normal(seed + 5, batch, time, heads * values),
        "raw": raw,
        "floor": rng.choice([0.0, 0.05, 0.3], (batch, time)),
        "bounded": np.tanh(
            rng.choice([-2.5, -1.8, -1.2, -0.7, -0.2, 0.1, 0.4, 0.9, 1.7, 3.0], (batch, time, features))
        ),
    }


STORED: Final = (
    _TOLD.case(
        1,
        "TELE-1 TELE-2 TELE-3 TELE-4 TELE-5 TELE-6",
        "documents of two, nine and sixteen tokens",
        {"shard": 0},
        told(2600),
    ),
    _TOLD.case(2, "TELE-2", "shards of six: one began three tokens ago", {"shard": 6}, told(2610, 4)),
)
