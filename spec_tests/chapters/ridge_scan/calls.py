"""Calls of ridge regression: sums that a document may have left, rows out of phase."""

from typing import Final

import numpy as np

from spec_tests.chapters.memory_step.calls import beginnings, directions
from spec_tests.contract.properties import representable
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Op

HEADS, FEATURES, VALUES = 2, 4, 3
TIMED: Final = ("keys", "values", "queries", "retention", "step_size", "reset")
STATE: Final = ("cross", "gram", "position")


def case(
    *,
    batch: int = 2,
    time: int = 7,
    heads: int = HEADS,
    features: int = FEATURES,
    values: int = VALUES,
    seed: int = 1,
    document: int = 100,
) -> dict[str, Array]:
    """Return a call in the middle of its documents, the first row at its very start."""
    rng = generator(seed)
    shape, carried = (batch, time, heads), (batch, heads)
    position = rng.integers(1, 40, batch)
    position[0] = 0
    past = rng.standard_normal((*carried, features, features + 2))
    drawn = {
        "keys": directions((*shape, features), seed + 1),
        "values": rng.standard_normal((*shape, values)),
        "queries": directions((*shape, features), seed + 2),
        "retention": rng.uniform(0.6, 1.0, shape),
        "step_size": rng.uniform(0.2, 1.0, shape),
        "reset": beginnings(batch, time, document, rng),
        "ridge": rng.uniform(0.25, 1.5, (heads, features)),
        "cross": rng.standard_normal((*carried, values, features)),
        "gram": np.einsum("bhfn,bhgn->bhfg", past, past) / (features + 2),
        "position": position,
    }
    return representable(Op.RIDGE_SCAN, drawn)


def inside(seed: int, **lengths: int) -> dict[str, Array]:
    """Return a call inside documents: no row begins one."""
    inputs = case(seed=seed, **lengths)
    return inputs | {"reset": 0 * inputs["reset"], "position": inputs["position"] + 5}


def tokens(inputs: dict[str, Array], piece: slice) -> dict[str, Array]:
    """Return the call that holds only the tokens of `piece`."""
    return {**inputs, **{name: inputs[name][:, piece] for name in TIMED}}


def cotangents(inputs: dict[str, Array], seed: int) -> dict[str, Array]:
    """Return a random cotangent of the reads and of both sums."""
    rng = generator(seed)
    shapes = {"reads": inputs["values"].shape, "cross": inputs["cross"].shape, "gram": inputs["gram"].shape}
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}
