"""What must not be seen, whatever it holds: infinities and NaN there change nothing, gradients included.

A call is asked twice, the second time with garbage where another document is. Row 0 begins a document with the call,
which ends before the token `BORDER`, where another begins: its tokens are spoilt, and all that the row carries. Row 1
began its document a token before the call: the slots of windows that the document does not reach are spoilt. Row 2, if
there is one, sees all of its state.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from spec_tests.contract.by_loops import assert_along, assert_answers, single
from spec_tests.contract.driver import Result, run, run_with_gradients
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.properties import representable
from spec_tests.contract.schema import TensorSchema
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Numerics, Op, Port, Scalar

Inputs = Mapping[str, Array]

BORDER: Final = 4
"""The token of row 0 that begins a document."""
BEFORE: Final = np.array([0, 1, 9])
"""Tokens that the documents of the rows have had before the call."""
GARBAGE: Final = (np.inf, np.nan)


def places(batch: int, time: int) -> Array:
    """Return the positions of the tokens of the rows described above."""
    position = BEFORE[:batch, None] + np.arange(time)
    position[0, BORDER:] = np.arange(time - BORDER)
    return np.asarray(position)


def spoilt(op: Op, inputs: Inputs, garbage: float, sequences: bool = True) -> dict[str, Array]:
    """Return the call with garbage out of sight; without `sequences` only in what is carried."""
    changed = dict(inputs)
    for tensor in _carried(op):
        value = inputs[tensor.name].copy()
        value[0] = garbage
        if tensor.axes[1:2] and tensor.axes[1].endswith("-1"):
            value[1, : max(0, value.shape[1] - BEFORE[1])] = garbage
        changed[tensor.name] = value
    for tensor in _timed(op) if sequences else ():
        changed[tensor.name] = inputs[tensor.name].copy()
        changed[tensor.name][0, :BORDER] = garbage
    return changed


def assert_not_seen(port: Port, op: Op, numerics: Numerics, config: Mapping[str, Scalar], inputs: Inputs) -> None:
    """Assert that garbage out of sight changes no output that the next document has, and no other row."""
    inputs = representable(op, inputs)
    plain = run(port, op, numerics, inputs, **config)
    # A port that answers anything at all may see nothing.
    assert_answers(plain, config)
    for garbage in GARBAGE:
        among = run(port, op, numerics, spoilt(op, inputs, garbage), **config)
        for tensor in OPERATIONS[op].outputs:
            _assert_same(tensor, tensor.name, among, plain, f"with {garbage} out of sight in {numerics}")


def assert_gradients_not_seen(
    port: Port,
    op: Op,
    numerics: Numerics,
    config: Mapping[str, Scalar],
    inputs: Inputs,
    shared: tuple[str, ...] = (),
    *,
    sequences: bool = True,
) -> None:
    """Assert that garbage out of sight changes no gradient of what is in sight, nor of the parameters `shared`.

    Without `sequences` it stands only in what is carried: a parameter that an earlier token of the call passed through
    is spoilt by that token.
    """
    inputs = representable(op, inputs)
    shapes = {name: value.shape for name, value in run(port, op, numerics, inputs, **config).outputs.items()}
    cotangents = {tensor.name: _cotangent(tensor, shapes[tensor.name]) for tensor in _floating(OPERATIONS[op].outputs)}
    plain = run_with_gradients(port, op, numerics, inputs, cotangents, **config)
    # Gradients of zero throughout would see nothing either.
    assert_along(plain, config, cotangents, *(tensor.name for tensor in _floating(OPERATIONS[op].inputs)))
    for garbage in GARBAGE:
        given = spoilt(op, inputs, garbage, sequences=sequences)
        among = run_with_gradients(port, op, numerics, given, cotangents, **config)
        for tensor in _floating(OPERATIONS[op].inputs):
            if tensor.name in shared or tensor.axes[:1] == ("batch",):
                _assert_same(tensor, f"grad.{tensor.name}", among, plain, f"with {garbage} out of sight in {numerics}")


def _cotangent(tensor: TensorSchema, shape: tuple[int, ...]) -> Array:
    """Return a random cotangent of what is in sight."""
    drawn = single(generator(len(tensor.name)).standard_normal(shape))
    if "time" in tensor.axes:
        drawn[0, :BORDER] = 0.0
    return drawn


def _assert_same(tensor: TensorSchema, name: str, among: Result, plain: Result, where: str) -> None:
    """Assert that what is in sight of an array is as before, within rounding."""
    pairs = [(among[name], plain[name])]
    if "time" in tensor.axes:
        pairs = [(value[0][0, BORDER:], value[1][0, BORDER:]) for value in pairs] + [(a[1:], b[1:]) for a, b in pairs]
    scale = float(np.abs(plain[name]).max(initial=0.0))
    allowed = (1e-12 if plain.numerics is Numerics.F64 else plain.tolerance(name)) * scale
    for got, wanted in pairs:
        assert np.isfinite(got).all(), f"{plain.op} {name} is not finite {where}"
        error = float(np.abs(got - wanted).max(initial=0.0))
        assert error <= allowed, f"{plain.op} {name} is off by {error:.3g} {where}"


def _carried(op: Op) -> Iterator[TensorSchema]:
    row = OPERATIONS[op]
    handed_on = {tensor.name for tensor in row.outputs}
    return (tensor for tensor in _floating(row.inputs) if tensor.name in handed_on)


def _timed(op: Op) -> Iterator[TensorSchema]:
    return (tensor for tensor in _floating(OPERATIONS[op].inputs) if "time" in tensor.axes)


def _floating(tensors: tuple[TensorSchema, ...]) -> Iterator[TensorSchema]:
    return (tensor for tensor in tensors if tensor.role != "index")
