"""Complex steps through one row and head at a time: where these are independent, a step need not run the others."""

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np

from spec_tests.contract.schema import Operation, TensorSchema
from spec_tests.oracle import complex_step
from spec_tests.oracle.answer import Arrays, Config, Function, Slopes
from spec_tests.oracle.sums import FORWARD


def in_columns(row: Operation, function: Function) -> Slopes:
    """Return the derivatives of an operation whose rows and heads are independent, from its answer."""
    return partial(_slopes, row, function)


def _slopes(row: Operation, function: Function, config: Config, x: Arrays, asked: Arrays) -> Arrays:
    inputs = {tensor.name: tensor for tensor in row.inputs}
    outputs = {tensor.name: tensor for tensor in row.outputs}
    found = {name: np.zeros_like(value) for name, value in x.items() if value.dtype.kind == "f"}
    for place in _places(inputs, x):
        given = {name: value[_slices(inputs[name], place)] for name, value in x.items()}
        wanted = {name: value[_slices(outputs[name], place)] for name, value in asked.items()}
        with np.errstate(invalid="ignore"):
            alone = complex_step.gradients(lambda column: function(config, column, FORWARD), given, wanted)
        for name, slope in alone.items():
            found[name][_slices(inputs[name], place)] += slope
    return found


def _places(inputs: Mapping[str, TensorSchema], x: Arrays) -> Iterator[dict[str, int]]:
    """Yield every row with every head."""
    lengths = {axis: length for name in x for axis, length in zip(inputs[name].axes, x[name].shape, strict=True)}
    for batch, head in np.ndindex(lengths["batch"], lengths["heads"]):
        yield {"batch": batch, "heads": head}


def _slices(tensor: TensorSchema, place: Mapping[str, int]) -> tuple[slice, ...]:
    """Return the part of an array that one row and head has, its axes kept."""
    return tuple(slice(place[axis], place[axis] + 1) if axis in place else slice(None) for axis in tensor.axes)
