"""Stored cases of the short convolution."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.drawing.inputs import FAR_AND_MANY, PHASES, normal
from spec_tests.port import Array, Op
from spec_tests.vectors.source import Family

_CONV: Final = Family("CONV", Op.SHORT_CONV)


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


STORED: Final = (
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
    _CONV.case(
        101,
        "CONV-1 CONV-2",
        "a row from beyond position 100,000 with a dozen documents",
        {},
        _conv(1101, FAR_AND_MANY, 4),
    ),
    _CONV.case(
        102, "CONV-1 CONV-5", "six rows of twenty channels", {}, _conv(1111, np.tile(PHASES[:, :4], (2, 1)), 3, 20)
    ),
)
