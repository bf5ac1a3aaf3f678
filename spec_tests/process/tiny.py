"""The smallest case of any operation, from the table alone: what a port is shown before it is examined.

The values are in the range of every gate and no two axes that could be confused have one length. Nothing here says what
the right answer is.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.inputs import generator
from spec_tests.operations import OPERATIONS
from spec_tests.operations.schema import Operation
from spec_tests.port import Array, Op, Scalar

LENGTHS: Final[Mapping[str, int]] = {
    "batch": 2,
    "time": 3,
    "heads": 2,
    "dim": 4,
    "rows": 3,
    "columns": 5,
    "features": 3,
    "values": 4,
    # Of the memory that is one matrix of `values` rows and `features` columns.
    "parameters": 12,
}
OTHER: Final = 2
"""The length of every other axis, and the value of every integer of a configuration."""
EMPTIED: Final = ("batch", "time")
"""The axes that may have length 0; the first that an operation has is emptied."""


def tiny_config(op: Op) -> dict[str, Scalar]:
    """Return a configuration of the first of the values that each key may take; numbers are 2 and 0.5."""
    plain: Mapping[type[Scalar], Scalar] = {bool: True, int: OTHER, float: 0.5, str: ""}
    allowed = OPERATIONS[op].config
    return {key: values[0] if isinstance(values, tuple) else plain[values] for key, values in allowed.items()}


def tiny_inputs(op: Op, *, empty: bool = False) -> dict[str, Array]:
    """Return inputs that belong to `tiny_config`: floats in (0.1, 0.9), integers 0; one axis of length 0 if asked."""
    row = OPERATIONS[op]
    emptied = emptied_axis(row) if empty else None
    rng = generator(len(row.inputs))
    inputs: dict[str, Array] = {}
    for tensor in row.inputs:
        shape = [0 if axis == emptied else _length(axis) for axis in tensor.axes]
        floats = rng.uniform(0.1, 0.9, shape)
        inputs[tensor.name] = np.zeros(shape, dtype=np.int64) if tensor.role == "index" else np.asarray(floats)
    return inputs


def emptied_axis(row: Operation) -> str | None:
    """Return the axis that an empty case of this operation empties; None where it has no such axis."""
    axes = {axis for tensor in row.inputs for axis in tensor.axes}
    return next((axis for axis in EMPTIED if axis in axes), None)


def _length(axis: str) -> int:
    if axis.isdigit():
        return int(axis)
    name, _, less = axis.partition("-")
    return LENGTHS.get(name, OTHER) - int(less or 0)
