"""Arrays of the table padded to few shapes and cut back, so that XLA compiles few programs.

Rows, tokens and places of the window are padded with zeros: behind what is there, but for the pairs a window carries
(`window-1`), which are older the further in front they stand.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.contract.schema import Operation
from spec_tests.port import Array

_LADDERS: Final[Mapping[str, tuple[int, ...]]] = {"batch": (4, 8), "time": (16, 64), "window": (4, 8)}
_STRIDE: Final = 64
"""Beyond its ladder an axis is padded to a multiple of this."""


def rung(length: int, ladder: tuple[int, ...]) -> int:
    """Return the first length of the ladder that is long enough."""
    return next((step for step in ladder if length <= step), -(-length // _STRIDE) * _STRIDE)


def padded_length(axis: str, length: int) -> int:
    """Return the length to which an axis of the table is padded."""
    name, _, less = axis.partition("-")
    return rung(length + int(less or 0), _LADDERS[name]) - int(less or 0) if name in _LADDERS else length


def axes_of(row: Operation, name: str) -> tuple[str, ...]:
    """Return the axes of an input, tap or output."""
    return next(tensor.axes for tensor in (*row.inputs, *row.taps, *row.outputs) if tensor.name == name)


def lengths_of(row: Operation, inputs: Mapping[str, Array]) -> dict[str, int]:
    """Return the length of every axis of the inputs."""
    return {
        axis: length
        for tensor in row.inputs
        for axis, length in zip(tensor.axes, inputs[tensor.name].shape, strict=True)
    }


def pad(axes: tuple[str, ...], value: Array) -> Array:
    """Return the array with zeros added along each axis of a ladder."""
    missing = [padded_length(axis, length) - length for axis, length in zip(axes, value.shape, strict=True)]
    if not any(missing):
        return value
    return np.pad(value, [(m, 0) if axis == "window-1" else (0, m) for axis, m in zip(axes, missing, strict=True)])


def cut(axes: tuple[str, ...], value: Array, lengths: Mapping[str, int]) -> Array:
    """Return the array without what `pad` would add."""
    place: list[slice] = []
    for axis, length in zip(axes, value.shape, strict=True):
        there = lengths.get(axis, length)
        place.append(slice(length - there, None) if axis == "window-1" else slice(there))
    return np.asarray(value[tuple(place)])
