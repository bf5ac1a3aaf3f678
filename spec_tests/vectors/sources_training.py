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
        {"log_gain": START + 0.5, "gradient": 1e-3 * _noise(802, 12)},
    ),
)

_MUON: Final = Family("MUON", Op.MUON_STEP)
_GROKFAST: Final = Family("GFAST", Op.GROKFAST)
_PERP: Final = Family("PERP", Op.PERP_GRAD)
_CLIP: Final = Family("CLIP", Op.QK_CLIP)


def _muon(name: str, steps: int, decay: float) -> dict[str, Scalar]:
    rates: dict[str, Scalar] = {"learning_rate": 0.02, "momentum": 0.9, "weight_decay": decay}
    return {**rates, "coefficients": name, "newton_schulz_steps": steps}


def _update(seed: int, rows: int, columns: int) -> dict[str, Array]:
    names = ("weight", "buffer", "gradient")
    return {name: normal(seed + i, rows, columns) for i, name in enumerate(names)}


def _plain(seed: int, rows: int, columns: int) -> dict[str, Array]:
    return {"weight": normal(seed, rows, columns), "gradient": normal(seed + 1, rows, columns)}


def _attending(seed: int) -> dict[str, Array]:
    """Return two heads, the first with large logits."""
    large = np.array([3.0, 0.5])[:, None]
    return {
        "queries": large * normal(seed, 2, 4, 2, 4),
        "keys": normal(seed + 1, 2, 4, 2, 4),
        "query_weight": normal(seed + 2, 2, 4, 3),
        "key_weight": normal(seed + 3, 2, 4, 3),
    }


OPTIMISERS: Final = (
    _MUON.case(
        1,
        "OPT-1",
        "momentum, then Newton-Schulz, then the scale of a tall matrix; weight decay",
        _muon("quintic", 5, 0.1),
        _update(830, 5, 3),
    ),
    _MUON.case(
        2,
        "OPT-1 OPT-2",
        "an empty buffer and a small gradient, wide: its size does not matter",
        _muon("polar_express", 4, 0.0),
        {**_update(834, 3, 4), "buffer": np.zeros((3, 4)), "gradient": 1e-3 * normal(837, 3, 4)},
    ),
    _GROKFAST.case(
        1,
        "OPT-3 OPT-4",
        "noise about a constant: the average starts at the first gradient",
        {"alpha": 0.9, "strength": 2.0},
        {"gradients": 1.0 + normal(840, 8, 3)},
    ),
    _PERP.case(
        1, "OPT-5", "orthogonal to the weight as a whole, not row by row", {"rescale": False}, _plain(842, 3, 4)
    ),
    _PERP.case(2, "OPT-5 OPT-6", "rescaled to the length of the gradient", {"rescale": True}, _plain(844, 4, 3)),
    _PERP.case(
        3,
        "OPT-5",
        "a zero weight leaves the gradient alone",
        {"rescale": True},
        {"weight": np.zeros((2, 3)), "gradient": normal(846, 2, 3)},
        beside=True,
    ),
    _CLIP.case(
        1,
        "OPT-7 OPT-8",
        "one head above the threshold, one below; logits of pairs in causal order only",
        {"threshold": 2.0},
        _attending(850),
    ),
    _CLIP.case(2, "OPT-7 OPT-8", "both heads above the threshold", {"threshold": 0.25}, _attending(856)),
)

TRAINING: Final = (*_gradients(), *GAIN, *OPTIMISERS)
