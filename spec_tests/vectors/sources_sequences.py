"""Cases of convolution, Q-K projection and its gate, attention, and state mixing."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.port import Array, Op
from spec_tests.vectors.source import Family
from spec_tests.vectors.sources_matrices import normal

_CONV: Final = Family("CONV", Op.SHORT_CONV)
_QK: Final = Family("QK", Op.QK_PROJECTION)
_GATE: Final = Family("QKG", Op.QK_GATE)
_ATT: Final = Family("ATT", Op.SLIDING_WINDOW_ATTENTION)
_M3: Final = Family("M3", Op.M3_MIX)

# Rows out of phase: one in the middle of a document, one that begins, one with a document of one token.
PHASES: Final = np.array([[5, 6, 7, 8, 9, 10, 11, 12, 13], [0, 1, 2, 3, 0, 1, 2, 3, 4], [1, 2, 0, 0, 1, 2, 3, 4, 5]])


def _conv(seed: int, position: Array, kernel: int, channels: int = 3) -> dict[str, Array]:
    batch, time = position.shape
    return {
        "x": normal(seed, batch, time, channels),
        "weight": normal(seed + 1, channels, kernel),
        "tail": normal(seed + 2, batch, kernel - 1, channels),
        "position": position,
    }


def _infinite_tail(inputs: Mapping[str, Array]) -> dict[str, Array]:
    return {**inputs, "tail": np.full_like(inputs["tail"], np.inf)}


CONVOLUTION: Final = (
    _CONV.case(
        1,
        "CONV-1 CONV-2 CONV-3 CONV-4 CONV-5",
        "rows out of phase, documents that end inside the call, four taps",
        {},
        _conv(100, PHASES, 4),
    ),
    _CONV.case(2, "CONV-1", "one tap: no tail at all", {}, _conv(103, PHASES[:2, :4], 1)),
    _CONV.case(
        3,
        "CONV-2",
        "a tail full of infinities under rows that begin a document: another document is not multiplied by zero",
        {},
        _infinite_tail(_conv(106, PHASES[1:2], 3)),
    ),
    _CONV.case(
        4,
        "CONV-1 CONV-3 CONV-5",
        "one token a call, with fewer tokens than the tail holds",
        {},
        _conv(109, PHASES[:, 1:2], 4),
    ),
    _CONV.case(5, "CONV-3", "batch of one, two tokens, a tail of three", {}, _conv(112, PHASES[:1, :2], 4)),
    _CONV.case(
        6,
        "CONV-2 CONV-6",
        "gradients with respect to inputs, filters and tail, over the start of a document",
        {},
        _conv(115, PHASES[:, :5], 3),
        {"y": normal(118, 3, 5, 3), "tail": normal(119, 3, 2, 3)},
    ),
)


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
)


def _gate(seed: int, time: int, spread: float) -> dict[str, Array]:
    return {
        "projected": 2.0 * normal(seed, 2, time, 2, 4),
        "frobenius": np.abs(normal(seed + 1, 2, time, 2)) + 0.3,
        "log_gain": spread * normal(seed + 2, 2, 4) + 0.5,
        "scale": normal(seed + 3, 2, 4),
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
)


def _attention(
    seed: int, position: Array, window: int, tokens: int = 2, heads: int = 2, dim: int = 4
) -> dict[str, Array]:
    batch, time = position.shape
    names = ("queries", "keys", "values")
    return {
        **{name: normal(seed + i, batch, time, heads, dim) for i, name in enumerate(names)},
        "persistent_keys": normal(seed + 3, tokens, heads, dim),
        "persistent_values": normal(seed + 4, tokens, heads, dim),
        "cache_keys": normal(seed + 5, batch, window - 1, heads, dim),
        "cache_values": normal(seed + 6, batch, window - 1, heads, dim),
        "position": position,
    }


def _loud(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the call with scores of a thousand, each key beside another that scores almost as high."""
    keys = inputs["keys"].copy()
    keys[:, 1::2] = keys[:, 0::2] * (1.0 + 1.0 / 128.0)
    return {**inputs, "queries": 500.0 * np.sign(keys) + inputs["queries"], "keys": keys}


ATTENTION: Final = (
    _ATT.case(
        1,
        "ATT-1 ATT-2 ATT-3 ATT-4 ATT-5 ATT-6 ATT-7",
        "rows out of phase with a cache, documents that end inside the call, two persistent tokens",
        {"window": 4},
        _attention(200, PHASES, 4),
    ),
    _ATT.case(
        2,
        "ATT-1 ATT-2 ATT-4",
        "no persistent token: a first token sees itself alone",
        {"window": 3},
        _attention(210, PHASES[:, :6], 3, tokens=0),
    ),
    _ATT.case(3, "ATT-2 ATT-4", "a window of one token", {"window": 1}, _attention(220, PHASES[:2, :4], 1, tokens=3)),
    _ATT.case(
        4,
        "ATT-2 ATT-5",
        "one token a call, batch and heads of one, the window full of the cache",
        {"window": 5},
        _attention(230, PHASES[:1, :1], 5, heads=1),
    ),
    _ATT.case(
        5,
        "ATT-2 ATT-5 ATT-7",
        "a window longer than the call: the new cache keeps old entries",
        {"window": 7},
        _attention(240, PHASES[:, :3], 7, tokens=1),
    ),
    _ATT.case(
        7,
        "ATT-1",
        "scores beyond the range of the exponential, two keys near each other at the top",
        {"window": 3},
        _loud(_attention(260, PHASES[:2, :4], 3, tokens=1)),
    ),
    _ATT.case(
        6,
        "ATT-8",
        "gradients with respect to every input, over the start of a document",
        {"window": 3},
        _attention(250, PHASES[:, :4], 3, heads=1),
        {"output": normal(258, 3, 4, 1, 4), "cache_keys": normal(259, 3, 2, 1, 4)},
    ),
)


def _mix(seed: int, crossings: tuple[int, ...]) -> dict[str, Array]:
    return {
        "previous": normal(seed, len(crossings), 3, 4),
        "initial": normal(seed + 1, 3, 4),
        "crossings": np.array(crossings),
        "alpha_logit": np.array(0.9),
    }


MIXING: Final = (
    _M3.case(
        1,
        "M3-1 M3-2 M3-5",
        "rows before, at and after the end of the warmup",
        {"warmup_crossings": 8},
        _mix(300, (0, 3, 7, 8, 100)),
    ),
    _M3.case(2, "M3-1 M3-2", "no warmup at all", {"warmup_crossings": 0}, _mix(302, (0, 5)), beside=True),
    _M3.case(
        3,
        "M3-3 M3-4",
        "gradients: none to the previous state, to the logit from rows past the warmup only",
        {"warmup_crossings": 4},
        _mix(304, (1, 4, 9)),
        {"mixed": normal(306, 3, 3, 4)},
    ),
    _M3.case(
        4,
        "M3-3 M3-4",
        "gradients where every row is in the warmup: the logit gets none",
        {"warmup_crossings": 4},
        _mix(307, (0, 3)),
        {"mixed": normal(309, 2, 3, 4)},
    ),
    _M3.case(5, "M3-2 CALL-2", "a batch of one", {"warmup_crossings": 4}, _mix(310, (2,))),
)

SEQUENCES: Final = (*CONVOLUTION, *PROJECTION, *GATE, *ATTENTION, *MIXING)
