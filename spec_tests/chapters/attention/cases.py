"""Stored cases of attention."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.drawing.inputs import FAR_AND_MANY, PHASES, normal
from spec_tests.port import Array, Op
from spec_tests.vectors.source import Family

_ATT: Final = Family("ATT", Op.SLIDING_WINDOW_ATTENTION)


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


STORED: Final = (
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
    _ATT.case(
        101,
        "ATT-1 ATT-2 ATT-3",
        "a row from beyond position 100,000 with a dozen documents, a head of width 6",
        {"window": 5},
        _attention(1301, FAR_AND_MANY, 5, tokens=1, heads=1, dim=6),
    ),
    _ATT.case(
        102,
        "ATT-1 ATT-7",
        "five heads of width 8 in six rows",
        {"window": 2},
        _attention(1311, np.tile(PHASES[:, :2], (2, 1)), 2, heads=5, dim=8),
    ),
    _ATT.case(103, "ATT-1 ATT-7", "one head in three rows", {"window": 3}, _attention(1321, PHASES[:, :4], 3, heads=1)),
    _ATT.case(
        104,
        "ATT-5 ATT-8",
        "gradients through the new cache of keys and values",
        {"window": 3},
        _attention(1331, PHASES[:, :3], 3, heads=1, dim=2),
        {
            "output": normal(1338, 3, 3, 1, 2),
            "cache_keys": normal(1339, 3, 2, 1, 2),
            "cache_values": normal(1340, 3, 2, 1, 2),
        },
    ),
)
