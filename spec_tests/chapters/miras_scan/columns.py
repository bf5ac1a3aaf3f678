"""Complex steps through one token of one row and head at a time, taken back from the last token to the first.

Where rows and heads are independent, a step need not run the others. Where the state says all that a later token can
know of an earlier one, it need not run the other tokens either: what is owed to the state behind a token is what its
own call is asked for, and what that call owes the state before it goes on to the token before.
"""

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np

from spec_tests.contract.schema import Operation, TensorSchema
from spec_tests.oracle import complex_step
from spec_tests.oracle.answer import Arrays, Config, Function, Slopes
from spec_tests.oracle.sums import FORWARD
from spec_tests.port import Array


def in_columns(row: Operation, function: Function) -> Slopes:
    """Return the derivatives of an operation with a state, whose rows and heads are independent, from its answer."""
    return partial(_slopes, row, function)


def _slopes(row: Operation, function: Function, config: Config, x: Arrays, asked: Arrays) -> Arrays:
    inputs = {tensor.name: tensor for tensor in row.inputs}
    outputs = {tensor.name: tensor for tensor in row.outputs}
    found = {name: np.zeros_like(value) for name, value in x.items() if value.dtype.kind == "f"}
    for place in _places(inputs, x):
        given = {name: value[_slices(inputs[name], place)] for name, value in x.items()}
        wanted = {name: value[_slices(outputs[name], place)] for name, value in asked.items()}
        with np.errstate(invalid="ignore"):
            alone = Column(row, partial(_answer, function, config)).slopes(given, wanted)
        for name, slope in alone.items():
            found[name][_slices(inputs[name], place)] += slope
    return found


def _answer(function: Function, config: Config, x: Arrays) -> Arrays:
    return function(config, x, FORWARD)


class Column:
    """One row and head of an operation: which arrays have a token each, and which are carried from call to call."""

    def __init__(self, row: Operation, function: complex_step.Function) -> None:
        self.function = function
        self.timed = {tensor.name: tensor.axes.index("time") for tensor in row.inputs if "time" in tensor.axes}
        self.shown = {tensor.name: tensor.axes.index("time") for tensor in row.outputs if "time" in tensor.axes}
        self.carried = [tensor.name for tensor in row.inputs if tensor in row.outputs]

    def slopes(self, x: Arrays, asked: Arrays) -> dict[str, Array]:
        """Return the derivative of sum(asked * output) with respect to each entry of each float64 input."""
        found = {name: np.zeros_like(value) for name, value in x.items() if value.dtype.kind == "f"}
        owed = {name: value for name, value in asked.items() if name in self.carried}
        for t, call in reversed(list(enumerate(self.calls(x)))):
            read = {name: _at(axis, asked[name], t) for name, axis in self.shown.items() if name in asked}
            slopes = complex_step.gradients(self.function, call, {**owed, **read})
            owed = {name: slopes.pop(name) for name in self.carried if name in slopes}
            for name, slope in slopes.items():
                part = _at(self.timed[name], found[name], t) if name in self.timed else found[name]
                part += slope
        return found | owed

    def calls(self, x: Arrays) -> Iterator[dict[str, Array]]:
        """Yield a call for each token, with the state that those before it have left."""
        state = {name: x[name] for name in self.carried}
        for t in range(next(x[name].shape[axis] for name, axis in self.timed.items())):
            call = {**x, **state, **{name: _at(axis, x[name], t) for name, axis in self.timed.items()}}
            yield call
            answer = self.function(call)
            state = {name: answer[name] for name in self.carried}


def _at(axis: int, value: Array, t: int) -> Array:
    """Return one token of an array, its axes kept."""
    return value[(slice(None),) * axis + (slice(t, t + 1),)]


def _places(inputs: Mapping[str, TensorSchema], x: Arrays) -> Iterator[dict[str, int]]:
    """Yield every row with every head."""
    lengths = {axis: length for name in x for axis, length in zip(inputs[name].axes, x[name].shape, strict=True)}
    for batch, head in np.ndindex(lengths["batch"], lengths["heads"]):
        yield {"batch": batch, "heads": head}


def _slices(tensor: TensorSchema, place: Mapping[str, int]) -> tuple[slice, ...]:
    """Return the part of an array that one row and head has, its axes kept."""
    return tuple(slice(place[axis], place[axis] + 1) if axis in place else slice(None) for axis in tensor.axes)
