"""The smallest case of any operation, from the table alone: what a port is shown before it is examined.

The values are in the range of every gate and no two axes that could be confused have one length. Nothing here says what
the right answer is.
"""

from collections.abc import Mapping
from math import prod
from typing import Final

import numpy as np

from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.schema import Operation
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Op, Scalar

LENGTHS: Final[Mapping[str, int]] = {
    "batch": 2,
    "time": 3,
    "heads": 2,
    "dim": 4,
    "rows": 3,
    "columns": 5,
    # Monomials of degree 1 and 2 of two key coordinates; one matrix of values by features.
    "key": 2,
    "features": 5,
    # One for a head, which the first kind of gates has.
    "gate": 1,
    "values": 4,
    "parameters": 20,
    # Of a block: heads dim = heads values, 3 heads dim, heads (2 key + values), heads (3 + window), twice the hidden.
    "model": 8,
    "attention": 24,
    "channels": 16,
    "gates": 10,
    "reads": 8,
    "hidden": 3,
    "feed": 6,
    # heads key, of the queries of rows; twice a segment of two tokens, less one.
    "asking": 4,
    "asked": 3,
    # One memory of two is the global one.
    "locals": 1,
    # window + the tokens between writes - 1.
    "reach": 3,
    "vocabulary": 7,
    # Two points have no circle of their own.
    "numbers": 6,
}
OTHER: Final = 2
"""The length of every other axis, and the value of every integer of a configuration."""
HALF: Final = 0.5
"""The value of every other number of a configuration."""
NUMBERS: Final[Mapping[str, float]] = {"norm_eps": 1e-3, "rope_base": 100.0, "exponent": 1.5, "link_exponent": 3.0}
EMPTIED: Final = ("batch", "time")
"""The axes that may have length 0; the first that an operation has is emptied."""


def tiny_config(op: Op) -> dict[str, Scalar]:
    """Return a configuration of the first of the names that a key may take, and of numbers in its range."""
    return {key: _value(key, allowed) for key, allowed in OPERATIONS[op].config.items()}


def _value(key: str, allowed: type[Scalar] | tuple[str, ...]) -> Scalar:
    if isinstance(allowed, tuple):
        return allowed[0]
    plain: Mapping[type[Scalar], Scalar] = {bool: True, int: OTHER, float: NUMBERS.get(key, HALF), str: ""}
    return plain[allowed]


def tiny_inputs(op: Op, *, empty: bool = False) -> dict[str, Array]:
    """Return inputs that belong to `tiny_config`: floats in (0.1, 0.9), integers 0 but for `chunks`, which have tokens.

    One axis has length 0 if asked.
    """
    row = OPERATIONS[op]
    emptied = emptied_axis(row) if empty else None
    rng = generator(len(row.inputs))
    inputs: dict[str, Array] = {}
    lengths = _lengths(row)
    for tensor in row.inputs:
        shape = [0 if axis == emptied else _length(axis, lengths) for axis in tensor.axes]
        floats = rng.uniform(0.1, 0.9, shape)
        number = OTHER if tensor.name == "chunks" else 0
        inputs[tensor.name] = np.full(shape, number) if tensor.role == "index" else np.asarray(floats)
    return inputs


def emptied_axis(row: Operation) -> str | None:
    """Return the axis that an empty case of this operation empties; None where it has no such axis."""
    axes = {axis for tensor in row.inputs for axis in tensor.axes}
    return next((axis for axis in EMPTIED if axis in axes), None)


def _lengths(row: Operation) -> Mapping[str, int]:
    """Return the lengths of an operation's axes; in steps of training features are keys and `numbers` all entries."""
    if not any("tensors" in tensor.axes for tensor in row.inputs):
        return LENGTHS
    plain = {"features": LENGTHS["key"], "degree": 1, "parameters": LENGTHS["values"] * LENGTHS["key"]}
    lengths = {**LENGTHS, **plain}
    sizes = [
        prod(_length(axis, lengths) for axis in tensor.axes) for tensor in row.inputs if tensor.role == "parameter"
    ]
    return {**lengths, "tensors": len(sizes), "numbers": sum(sizes)}


def _length(axis: str, lengths: Mapping[str, int]) -> int:
    if axis.isdigit():
        return int(axis)
    name, _, less = axis.partition("-")
    return lengths.get(name, OTHER) - int(less or 0)
