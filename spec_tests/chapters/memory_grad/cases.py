"""Stored cases of gradients through the memory."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from spec_tests.chapters.memory_step.calls import rule
from spec_tests.chapters.memory_step.covering import QUARTER, SQUARE, cells, covering_gradients, sized_call, sized_cases
from spec_tests.chapters.memory_step.stored_calls import call, cotangents, mixed_ends
from spec_tests.drawing.inputs import normal
from spec_tests.port import Numerics, Op, Scalar
from spec_tests.vectors.source import Family, Source

_GRAD: Final = Family("GRAD", Op.MEMORY_GRAD)

PIECE: Final = {"time": 6, "position": (2, 7), "resets": ((1, 2),)}
"""Six writes, over a border of chunks; a document begins in row 1 at token 2."""


def _gradient(
    number: int, requirements: str, why: str, config: dict[str, Scalar], ends: tuple[str, ...] = (), **changes: Any
) -> Source:
    inputs = call(config, 700 + number, **{**PIECE, **changes})
    inputs = mixed_ends(inputs, 700, *ends) if ends else inputs
    return _GRAD.case(number, requirements, why, config, inputs, cotangents(inputs, 750 + number))


def _gradients() -> Iterator[Source]:
    everything = "GRAD-1 GRAD-2 GRAD-3 GRAD-5"
    yield _gradient(1, everything, "titans, matrix, with a carried window", rule("titans"))
    yield _gradient(2, everything, "omega, MLP: through gelu and its slope", rule("omega", "mlp"))
    yield _gradient(3, everything, "delta, MLP, b = 1: through every state", rule("delta", "mlp", chunk=1))
    yield _gradient(4, everything, "atlas: through Newton-Schulz and its norm", rule("atlas"))
    yield _gradient(
        5,
        everything,
        "atlas_appendix, a truncated window, reads before the write",
        rule("atlas_appendix", boundary="truncate", read="pre"),
    )
    yield _gradient(
        6, everything, "omega, MLP, by mass: through the curvature", rule("omega", "mlp", step_scale="mass"), time=5
    )
    yield _gradient(
        7,
        "GRAD-4",
        "gates of exactly 0 and 1 have finite gradients",
        rule("titans"),
        ("retention", "momentum_decay", "window_weights"),
    )
    yield _gradient(
        8,
        "GRAD-6",
        "rows that begin their documents: M_0 gets the gradient, the state none",
        rule("omega"),
        position=(0, 0),
        resets=((1, 0),),
        time=4,
    )
    config = rule("omega", "mlp")
    inputs = call(config, 709, time=5, position=(2, 7))
    yield _GRAD.case(
        9, "CALL-3", "no gradient asked for: the form that trains answers as it does in training", config, inputs
    )
    config = rule("titans")
    inputs = call(config, 710, time=6, position=(2, 7))
    only = {"reads": normal(760, *inputs["values"].shape) * (np.arange(6) == 3)[:, None, None]}
    yield _GRAD.case(10, "GRAD-5", "a read of one token: later tokens have exactly no gradient", config, inputs, only)
    yield _gradient(
        11,
        "GRAD-6",
        "atlas from the start of its documents: Newton-Schulz of a momentum of rank one",
        rule("atlas"),
        position=(0, 0),
        resets=((1, 0),),
        time=3,
    )


HEAD_CONFIG: Final = rule("titans", chunk=16, step_scale="mass")
HEAD_CALL: Final = sized_call(HEAD_CONFIG, 83_000, QUARTER, (5,), ((0, 77),))

SQUARE_CONFIG: Final = rule("omega", "mlp", chunk=2)
SQUARE_CALL: Final = sized_call(SQUARE_CONFIG, 85_000, SQUARE)

STORED: Final = (
    *_gradients(),
    _GRAD.case(
        172,
        "GRAD-1 GRAD-2 GRAD-3",
        "as many features as values",
        SQUARE_CONFIG,
        SQUARE_CALL,
        cotangents(SQUARE_CALL, 85_020),
    ),
    *covering_gradients(_GRAD, 101, 80_000, cells(), redrawn=(1, 3, 18)),
    *sized_cases(_GRAD, 161, 82_000),
    _GRAD.case(
        171,
        "GRAD-1 GRAD-2 GRAD-3 GRAD-5",
        "one head of usual width over eight chunks: 64 features, 16 values, 128 tokens",
        HEAD_CONFIG,
        HEAD_CALL,
        cotangents(HEAD_CALL, 84_000),
        # Over so many writes rounded activations say little about a gradient.
        numerics=(Numerics.F64, Numerics.F32),
    ),
)
