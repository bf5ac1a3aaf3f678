"""Stored cases of Q-K projection and its gate."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.drawing.inputs import FAR_AND_MANY, PHASES, normal
from spec_tests.port import Array, Op
from spec_tests.vectors.source import Family

_QK: Final = Family("QK", Op.QK_PROJECTION)
_GATE: Final = Family("QKG", Op.QK_GATE)


def _qk(seed: int, position: Array, heads: int = 2, dim: int = 4) -> dict[str, Array]:
    shape = (*position.shape, heads, dim)
    root = normal(seed + 2, len(position), heads, dim, dim)
    return {
        "queries": normal(seed, *shape),
        "keys": normal(seed + 1, *shape),
        "carry": root @ np.swapaxes(root, -1, -2) / dim,
        "position": position,
    }


def _keys(inputs: Mapping[str, Array], factors: Array) -> dict[str, Array]:
    """Return the call with the keys of token t multiplied by factors[t]."""
    return {**inputs, "keys": inputs["keys"] * factors[:, None, None]}


def _axes(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the call with orthonormal keys: the axes, one a token."""
    time, heads, dim = inputs["keys"].shape[1:]
    keys = np.broadcast_to(np.eye(dim)[:time, None], (time, heads, dim))
    return {**inputs, "keys": np.broadcast_to(keys, inputs["keys"].shape).copy()}


PROJECTION: Final = (
    _QK.case(
        1,
        "QK-1 QK-2 QK-3 QK-4 QK-5 QK-6",
        "rows out of phase with a carry, documents that end inside the call",
        {},
        _qk(130, PHASES),
    ),
    _QK.case(2, "QK-1 QK-4", "one token a call, batch and heads of one", {}, _qk(133, PHASES[:1, :1], heads=1)),
    _QK.case(
        3,
        "QK-7",
        "keys from 1e-18 to 1e18 and a zero key: only directions count",
        {},
        _keys(_qk(136, PHASES[:2, :5]), np.array([1e18, 1e-18, 0.0, 1.0, 30.0])),
    ),
    _QK.case(
        4,
        "QK-2 QK-8",
        "orthonormal keys from the start of a document: a projector with norm sqrt(t + 1)",
        {},
        _axes(_qk(139, PHASES[1:2, :4])),
    ),
    _QK.case(
        5,
        "QK-3 QK-9",
        "gradients with respect to queries, keys and carry, over the start of a document",
        {},
        _qk(142, PHASES[:, :4], dim=3),
        {"projected": normal(145, 3, 4, 2, 3), "frobenius": normal(146, 3, 4, 2), "carry": normal(147, 3, 2, 3, 3)},
    ),
    _QK.case(
        6,
        "QK-7 QK-9",
        "a zero key has a finite gradient: none",
        {},
        _keys(_qk(148, PHASES[:2, :4], dim=3), np.array([1.0, 0.0, 1.0, 2.0])),
        {"projected": normal(151, 2, 4, 2, 3)},
    ),
    _QK.case(
        101,
        "QK-1 QK-2 QK-3",
        "a row from beyond position 100,000 with a dozen documents, a head of width 6",
        {},
        _qk(1401, FAR_AND_MANY, heads=1, dim=6),
    ),
    _QK.case(
        102, "QK-1 QK-6", "five heads of width 8 in six rows", {}, _qk(1411, np.tile(PHASES[:, :2], (2, 1)), 5, 8)
    ),
    _QK.case(103, "QK-1 QK-6", "one head in three rows", {}, _qk(1421, PHASES[:, :4], heads=1)),
)


def _gate(seed: int, time: int, spread: float, batch: int = 2, heads: int = 2, dim: int = 4) -> dict[str, Array]:
    return {
        "projected": 2.0 * normal(seed, batch, time, heads, dim),
        "frobenius": np.abs(normal(seed + 1, batch, time, heads)) + 0.3,
        "log_gain": spread * normal(seed + 2, heads, dim) + 0.5,
        "scale": normal(seed + 3, heads, dim),
    }


def _open(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the gate with small arguments: where tanh is flat, 1 - tanh^2 is rounding alone."""
    return {**inputs, "projected": 0.25 * inputs["projected"]}


GATE: Final = (
    _GATE.case(1, "QK-10", "gains about 1.6, bounded and open entries, scales of both signs", {}, _gate(160, 5, 0.5)),
    _GATE.case(
        2,
        "QK-10",
        "gradients of the gate with respect to all four inputs, away from the ends of tanh",
        {},
        _open(_gate(164, 3, 0.3)),
        {"gated": normal(168, 2, 3, 2, 4)},
    ),
    _GATE.case(101, "QK-10", "seventy tokens of one head", {}, _gate(1431, 70, 0.3, batch=2, heads=1, dim=6)),
    _GATE.case(102, "QK-10", "five heads of width 8 in six rows", {}, _gate(1441, 2, 0.3, batch=6, heads=5, dim=8)),
)

STORED: Final = (*PROJECTION, *GATE)
