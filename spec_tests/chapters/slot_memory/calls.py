"""Calls of the memory of slots: the rows that tests and cases share."""

from typing import Final

import numpy as np

from spec_tests.drawing.inputs import normal
from spec_tests.port import Array

UNUSED: Final = -1


def begun(position: Array, count: int, seed: int) -> Array:
    """Return when the slots of each row were last read: before the call, some not yet; none where a document begins."""
    first = position[:, :1] if position.shape[1] else np.full((len(position), 1), 5)
    drawn = first - 1 - np.argsort(normal(seed, len(position), count), axis=1)
    return np.where(drawn < 0, UNUSED, drawn).astype(np.int64)


def call(seed: int, position: Array, count: int = 4, dim: int = 3) -> dict[str, Array]:
    """Return a call with `count` slots of which most are in use; what is not in use holds numbers all the same."""
    return {
        "x": normal(seed, *position.shape, dim),
        "slots": normal(seed + 1, len(position), count, dim),
        "read_at": begun(position, count, seed + 2),
        "position": position,
    }


def axes(*numbers: int, dim: int = 4) -> Array:
    """Return multiples of axes, one row of tokens: 2 is the second axis, -2 its opposite, 0 the zero vector."""
    rows = np.zeros((1, len(numbers), dim))
    for t, number in enumerate(numbers):
        if number:
            rows[0, t, abs(number) - 1] = np.sign(number)
    return rows


def fresh(x: Array, count: int) -> dict[str, Array]:
    """Return a call that begins a document in every row, with slots that hold nothing."""
    batch, time, dim = x.shape
    return {
        "x": x,
        "slots": np.zeros((batch, count, dim)),
        "read_at": np.full((batch, count), UNUSED),
        "position": np.tile(np.arange(time), (batch, 1)),
    }
