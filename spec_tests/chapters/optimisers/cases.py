"""Stored cases of the outer optimisers."""

from typing import Final

import numpy as np

from spec_tests.chapters.optimisers import sight_cases
from spec_tests.drawing.inputs import normal
from spec_tests.port import Array, Numerics, Op, Scalar
from spec_tests.vectors.source import Family

_MUON: Final = Family("MUON", Op.MUON_STEP, tuple(Numerics))
_MUON_EVERYWHERE: Final = Family("MUON", Op.MUON_STEP)
"""Cases of size and of values, which the profiles of hardware need not repeat."""
_GROKFAST: Final = Family("GFAST", Op.GROKFAST)
_PERP: Final = Family("PERP", Op.PERP_GRAD)
_CLIP: Final = Family("CLIP", Op.QK_CLIP)


def _muon(name: str, steps: int, decay: float, rate: float = 0.02, momentum: float = 0.9) -> dict[str, Scalar]:
    rates: dict[str, Scalar] = {"learning_rate": rate, "momentum": momentum, "weight_decay": decay}
    return {**rates, "coefficients": name, "newton_schulz_steps": steps}


def _update(seed: int, rows: int, columns: int) -> dict[str, Array]:
    names = ("weight", "buffer", "gradient")
    return {name: normal(seed + i, rows, columns) for i, name in enumerate(names)}


def _plain(seed: int, rows: int, columns: int) -> dict[str, Array]:
    return {"weight": normal(seed, rows, columns), "gradient": normal(seed + 1, rows, columns)}


def _attending(
    seed: int, batch: int = 2, time: int = 4, heads: int = 2, dim: int = 4, model: int = 3
) -> dict[str, Array]:
    """Return heads of which the first has large logits."""
    large = np.array([3.0, *[0.5] * (heads - 1)])[:, None]
    return {
        "queries": large * normal(seed, batch, time, heads, dim),
        "keys": normal(seed + 1, batch, time, heads, dim),
        "query_weight": normal(seed + 2, heads, dim, model),
        "key_weight": normal(seed + 3, heads, dim, model),
    }


def _of_three_sizes(seed: int) -> dict[str, Array]:
    """Return three heads with logits of about -6, a hundredth and four."""
    sizes = np.array([[-3.0, 1.0], [0.1, 0.1], [2.0, 2.0]])[:, :, None]
    return {
        "queries": sizes[:, 1] * (1.0 + 0.2 * normal(seed, 2, 4, 3, 4)),
        "keys": sizes[:, 0] * (1.0 + 0.2 * normal(seed + 1, 2, 4, 3, 4)),
        "query_weight": normal(seed + 2, 3, 4, 3),
        "key_weight": normal(seed + 3, 3, 4, 3),
    }


STORED: Final = (
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
    _PERP.case(
        4,
        "OPT-5",
        "a weight of norm 1e-6 is projected out like a long one",
        {"rescale": False},
        {"weight": 1e-6 * normal(872, 3, 4), "gradient": normal(873, 3, 4)},
    ),
    _CLIP.case(
        4,
        "OPT-7",
        "a head whose logits are all negative, one just above a small threshold, one far above it",
        {"threshold": 0.005},
        _of_three_sizes(874),
    ),
    _MUON.case(
        3,
        "OPT-1",
        "a clamped start, as most code has it, of a small gradient on an empty buffer",
        {**_muon("quintic", 5, 0.1), "start": "clamp"},
        {**_update(860, 4, 4), "buffer": np.zeros((4, 4)), "gradient": 1e-8 * normal(863, 4, 4)},
    ),
    _MUON.case(
        4,
        "OPT-1",
        "the published algorithm of Polar Express in the step",
        _muon("polar_express_paper", 3, 0.1),
        _update(864, 3, 5),
    ),
    _CLIP.case(
        3,
        "OPT-7 OPT-8",
        "the formula of the report: pairs of a query and a later key count too",
        {"threshold": 1.0, "causal": False},
        _attending(868),
    ),
    _MUON.case(
        5,
        "OPT-1",
        "a clamped start in a step with momentum, weight decay and the scale of a tall matrix",
        {**_muon("quintic", 5, 0.1), "start": "clamp"},
        _update(880, 5, 3),
    ),
    _MUON_EVERYWHERE.case(
        101, "OPT-1", "another momentum, the set cubic", _muon("cubic", 5, 0.1, 0.1, 0.5), _update(2001, 4, 5)
    ),
    _MUON_EVERYWHERE.case(
        102, "OPT-1", "no momentum: the buffer is not read", _muon("quintic", 3, 0.0, 0.02, 0.0), _update(2011, 4, 3)
    ),
    _MUON_EVERYWHERE.case(103, "OPT-1", "no step of Newton-Schulz", _muon("quintic", 0, 0.1), _update(2021, 3, 4)),
    _MUON_EVERYWHERE.case(
        104, "OPT-1", "a learning rate of 0", _muon("quintic", 2, 0.1, 0.0), _update(2031, 3, 4), beside=True
    ),
    _MUON_EVERYWHERE.case(105, "OPT-1", "130 rows of two", _muon("quintic", 5, 0.1), _update(2041, 130, 2)),
    _MUON_EVERYWHERE.case(
        106, "OPT-1", "130 columns in two rows", _muon("polar_express", 5, 0.0), _update(2051, 2, 130)
    ),
    _GROKFAST.case(
        101,
        "OPT-3 OPT-4",
        "seventy steps of another filter",
        {"alpha": 0.98, "strength": 0.5},
        {"gradients": 1.0 + normal(2061, 70, 2)},
    ),
    _GROKFAST.case(
        102,
        "OPT-3",
        "an average of the last gradient alone: alpha is 0",
        {"alpha": 0.0, "strength": 2.0},
        {"gradients": normal(2062, 5, 6)},
    ),
    _GROKFAST.case(
        103,
        "OPT-3",
        "a strength of 0 adds nothing",
        {"alpha": 0.9, "strength": 0.0},
        {"gradients": normal(2063, 5, 3)},
        beside=True,
    ),
    _PERP.case(101, "OPT-5", "130 rows of two", {"rescale": False}, _plain(2071, 130, 2)),
    _PERP.case(102, "OPT-5 OPT-6", "130 columns in two rows", {"rescale": True}, _plain(2073, 2, 130)),
    _CLIP.case(
        101, "OPT-7 OPT-8", "five heads of width 8 in six rows", {"threshold": 1.5}, _attending(2081, 6, 2, 5, 8, 2)
    ),
    _CLIP.case(102, "OPT-7 OPT-8", "one head of three rows", {"threshold": 1.0}, _attending(2091, 3, 70, 1, 6, 2)),
    *(
        _MUON_EVERYWHERE.case(
            107 + number,
            "OPT-1",
            f"the set {name}, clamped, of a small gradient on an empty buffer",
            {**_muon(name, 2, 0.0), "start": "clamp"},
            {
                **_update(2101 + 10 * number, 3, 2),
                "buffer": np.zeros((3, 2)),
                "gradient": 1e-8 * normal(2104 + number, 3, 2),
            },
        )
        for number, name in enumerate(("cubic", "polar_express", "polar_express_paper"))
    ),
    *sight_cases.STORED,
)
