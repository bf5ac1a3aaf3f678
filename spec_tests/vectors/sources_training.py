"""Cases of gradients through the memory, and of the outer optimiser."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from spec_tests.memory_cases import rule
from spec_tests.port import Array, Op, Scalar
from spec_tests.vectors.memory_inputs import call, cotangents, mixed_ends
from spec_tests.vectors.source import Family, Source
from spec_tests.vectors.sources_matrices import normal

_GRAD: Final = Family("GRAD", Op.MEMORY_GRAD)
_GAIN: Final = Family("GAIN", Op.OPTIMIZER_STEP)

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


ADAMW: Final[dict[str, Scalar]] = {"optimizer": "adamw", "beta1": 0.9, "beta2": 0.95, "eps": 1e-8}
START: Final = np.log(np.array([5.0, 1.0, 0.3, 2.0]))


def _noise(seed: int, steps: int) -> Array:
    return 1.0 + 0.5 * normal(seed, steps, len(START))


GAIN: Final = (
    _GAIN.case(
        1,
        "GAIN-1",
        "forty steps of noisy gradients with weight decay",
        {**ADAMW, "learning_rate": 1e-3, "weight_decay": 0.01},
        {"log_gain": START, "gradient": _noise(800, 40)},
    ),
    _GAIN.case(
        2,
        "GAIN-2",
        "small steps on gains of very different size, which bfloat16 rounds away",
        {**ADAMW, "learning_rate": 1e-4, "weight_decay": 0.0},
        {"log_gain": START, "gradient": _noise(801, 5)},
    ),
    _GAIN.case(
        3,
        "GAIN-1",
        "gradients of the order of eps, where it matters that eps is outside the root",
        {**ADAMW, "learning_rate": 1e-3, "weight_decay": 0.1, "eps": 1e-3},
        {"log_gain": START, "gradient": 1e-3 * _noise(802, 12)},
    ),
)

TRAINING: Final = (*_gradients(), *GAIN)
