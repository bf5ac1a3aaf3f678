"""Rows, heads, tokens and channels mistaken for others; results that are wrong in one place or beyond a size."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

import numpy as np

from spec_tests.contract.schema import Operation, TensorSchema
from spec_tests.faults.fault import Arrays, Config, with_inputs, with_outputs
from spec_tests.faults.generated.kind import Kind, Place, is_float
from spec_tests.port import Array

SHARED: Final = ("batch", "heads", "time", "steps", "window", "kernel", "tokens")
"""Axes along which one entry may be taken for all."""
SIZES: Final[Mapping[str, int]] = {
    "batch": 4,
    "heads": 4,
    "time": 64,
    "values": 8,
    "features": 16,
    "dim": 16,
    "key": 16,
    "channels": 16,
    "model": 16,
    "rows": 16,
    "columns": 16,
}
"""Entries of an axis that a port may stop at: a register, a warp, a table."""
SLIGHTLY: Final = 1e-3
BY_A_TENTH: Final = 0.1


def _axes(tensor: TensorSchema) -> Iterator[tuple[int, str]]:
    return enumerate(axis.partition("-")[0] for axis in tensor.axes)


def _named(tensor: TensorSchema, place: int) -> str:
    """Return the name of an axis; the second of two alike is told apart."""
    axis = tensor.axes[place].partition("-")[0]
    return f"{tensor.name} {axis}" if axis not in tensor.axes[:place] else f"{tensor.name} second {axis}"


def _along(value: Array, axis: int, entries: slice) -> tuple[slice, ...]:
    return tuple(entries if place == axis else slice(None) for place in range(value.ndim))


def _first_for_all(row: Operation) -> Iterator[Place]:
    for tensor in row.inputs:
        for place, axis in _axes(tensor):
            if axis in SHARED:
                yield Place(_named(tensor, place), with_inputs(partial(_first, tensor.name, place)))


def _first(name: str, axis: int, _: Config, inputs: Arrays) -> Arrays:
    value = inputs[name]
    return {name: np.repeat(value[_along(value, axis, slice(1))], value.shape[axis], axis) if value.size else value}


def _rolled(row: Operation) -> Iterator[Place]:
    for tensor in row.outputs:
        for place in range(len(tensor.axes)):
            yield Place(_named(tensor, place), with_outputs(partial(_turned, tensor.name, place)))


def _turned(name: str, axis: int, _: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return {name: np.roll(outputs[name], 1, axis)}


def _wrong_at_the_last(row: Operation) -> Iterator[Place]:
    for tensor in filter(is_float, row.outputs):
        for place in range(len(tensor.axes)):
            yield Place(_named(tensor, place), with_outputs(partial(_last_scaled, tensor, place)))


def _last_scaled(tensor: TensorSchema, axis: int, _: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    value = outputs[tensor.name].copy()
    if value.shape[axis] > 1:
        rounded = tensor.role == "activation" and value.dtype == np.float32
        value[_along(value, axis, slice(-1, None))] *= 1.0 + (BY_A_TENTH if rounded else SLIGHTLY)
    return {tensor.name: value}


def _left_out(row: Operation) -> Iterator[Place]:
    for tensor in row.outputs:
        for place, axis in _axes(tensor):
            if axis in SIZES:
                change = partial(_cut, tensor.name, place, SIZES[axis])
                yield Place(f"{_named(tensor, place)} from {SIZES[axis]}", with_outputs(change))


def _cut(name: str, axis: int, size: int, _: Config, __: Arrays, outputs: Arrays) -> Arrays:
    value = outputs[name].copy()
    value[_along(value, axis, slice(size, None))] = 0
    return {name: value}


def _square_transposed(row: Operation) -> Iterator[Place]:
    for tensor in row.inputs:
        packed = tensor.axes[-1:] == ("parameters",)
        if packed or tensor.axes[-2:] == ("rows", "columns"):
            yield Place(tensor.name, with_inputs(partial(_transposed, tensor.name, packed)))


def _transposed(name: str, packed: bool, config: Config, inputs: Arrays) -> Arrays:
    """Return a matrix read column by column where it is square; packed, where keys and values are of one length."""
    value = inputs[name]
    if packed:
        prefix = name[: name.rfind(".") + 1]
        keys, values = (_width(inputs, prefix, what) for what in ("keys", "values"))
        # An operation without the key has a model with a matrix.
        width = keys if config.get("architecture", "matrix") == "matrix" and keys == values else 0
        if width == 0 or value.shape[-1] != width * width:
            return {}
        return {name: np.swapaxes(value.reshape(*value.shape[:-1], width, width), -1, -2).reshape(value.shape)}
    return {name: np.swapaxes(value, -1, -2)} if value.shape[-1] == value.shape[-2] else {}


def _width(inputs: Arrays, prefix: str, what: str) -> int:
    """Return the length of keys or values, which the window of the state has too."""
    return int(inputs[what if what in inputs else f"{prefix}window_{what}"].shape[-1])


def _single_head(row: Operation) -> Iterator[Place]:
    for tensor in row.inputs:
        axes = {axis: place for place, axis in _axes(tensor)}
        if {"batch", "heads"} <= axes.keys():
            yield Place(tensor.name, with_inputs(partial(_row_0_of_one_head, tensor.name, axes["heads"])))


def _row_0_of_one_head(name: str, heads: int, _: Config, inputs: Arrays) -> Arrays:
    value = inputs[name]
    return {name: np.repeat(value[:1], len(value), 0)} if value.shape[heads] == 1 else {}


KINDS: Final = (
    Kind("first-for-all", "the first row, head, token or age of an input stands for all", "rows", _first_for_all),
    Kind("rolled", "a result has its rows, heads, tokens or channels in another order", "rows", _rolled),
    Kind("wrong-at-the-last", "the last entry of an axis is off by a thousandth", "value", _wrong_at_the_last),
    Kind("left-out", "what lies beyond 4, 8, 16 or 64 entries of an axis is left at zero", "value", _left_out),
    Kind("square-transposed", "a square matrix is read column by column", "value", _square_transposed),
    Kind("row-0-of-one-head", "with one head alone, every row gets what row 0 has", "rows", _single_head),
)
