"""How far an answer is from what a case expects: one number a tensor and step.

The error at a step is the larger of two: the rms of the difference over the rms of what is expected there; and, so
that one wrong element cannot hide in a large tensor, the worst element of any row over the rms of its row, divided by
`PEAK`. A row is an index of the first axis that is not the steps'. Whatever is expected counts as at least `FLOOR` of
the tensor's rms. Integers are compared as they are: their error is the largest difference.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.schema import TensorSchema, index, state
from spec_tests.port import Array, Numerics, Op, Scalar

FLOOR: Final = 1e-3
PEAK: Final = 4.0
GRADIENT: Final = "grad."
STEPS: Final = ("time", "steps")
"""The axes along which a tensor has steps."""
EPSILON: Final[Mapping[Numerics, float]] = {
    Numerics.F64: float(np.finfo(np.float64).eps),
    Numerics.F32: float(np.finfo(np.float32).eps),
    Numerics.BF16_IO: float(np.finfo(np.float32).eps),
    # Inputs and outputs are float32: what an iteration inside loses is measured.
    Numerics.BF16_INSIDE: float(np.finfo(np.float32).eps),
    Numerics.TF32: float(np.finfo(np.float32).eps),
}
BF16_EPSILON: Final = 2.0**-8
"""Half the distance of bfloat16 numbers: what one rounding of an output costs."""

TRACED: Final[Mapping[Op, Op]] = {
    Op.MEMORY_SCAN: Op.MEMORY_SCAN,
    Op.MEMORY_CHUNKED: Op.MEMORY_SCAN,
    Op.MIRAS_SCAN: Op.MIRAS_SCAN,
    Op.MIRAS_CHUNKED: Op.MIRAS_SCAN,
}
"""Forms of the memory whose cases hold the state after every token, and the recurrence that shows it.

A replay finds it where a port shows none.
"""
TRACES: Final[Mapping[str, str]] = {"momentum_trace": "momentum", "weights_trace": "weights"}
"""What holds the state after every token, and the output that holds it after the last."""

# What is compared instead of features, whose order is the port's own: their number and all inner products.
GRAM: Final = (index("count", ""), state("gram", "batch batch"))


def comparable(op: Op, config: Mapping[str, Scalar], outputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return what is compared of an answer (floats in float64): the outputs, or what an operation is free in taken out.

    Features stand in an order of the port's own: compared are their number and Gram matrix, and for `elementwise`,
    where entry j belongs to entry j, the features too.
    """
    if op is not Op.POLYNOMIAL_FEATURES:
        return dict(outputs)
    features = outputs["features"]
    seen = {"count": np.array(features.shape[-1]), "gram": features @ features.T}
    kept = {name: value for name, value in outputs.items() if name != "features" or config["basis"] == "elementwise"}
    return seen | kept


def schemas(op: Op) -> Iterator[TensorSchema]:
    """Yield every tensor that may be compared, in the order in which one follows from another."""
    row = OPERATIONS[op]
    yield from row.taps
    if op in TRACED and not row.taps:
        yield from (tensor for tensor in OPERATIONS[TRACED[op]].taps if tensor.name in TRACES)
    yield from GRAM if op is Op.POLYNOMIAL_FEATURES else ()
    yield from row.outputs
    for tensor in row.inputs:
        if tensor.role != "index":
            yield replace(tensor, name=f"{GRADIENT}{tensor.name}", role="activation")


def names(op: Op) -> tuple[str, ...]:
    """Return the names of the tensors that may be compared, in the order in which one follows from another."""
    return tuple(schema.name for schema in schemas(op))


def schema_of(op: Op, name: str) -> TensorSchema:
    """Return the description of a tensor that is compared."""
    return next(schema for schema in schemas(op) if schema.name == name)


def steps_axis(op: Op, name: str) -> int | None:
    """Return the axis of a compared tensor along which it has steps, None where it has none."""
    axes = schema_of(op, name).axes
    return next((place for place, axis in enumerate(axes) if axis in STEPS), None)


def by_step(value: Array, axis: int | None) -> Array:
    """Return the array with its steps first; with one step where it has none."""
    return value[None] if axis is None else np.moveaxis(value, axis, 0)


def errors(actual: Array, expected: Array, axis: int | None) -> Array:
    """Return the error at each step (module docstring); infinite where either is not finite and the other differs.

    Infinite too where the shapes differ: the number of features is the port's own to say, and may be wrong.
    """
    got, wanted = by_step(actual, axis), by_step(expected, axis)
    if got.shape != wanted.shape:
        return np.full(len(wanted), np.inf)
    if wanted.size == 0:
        return np.zeros(len(wanted))
    if wanted.dtype.kind in "iu":
        return np.asarray(np.abs(got - wanted).reshape(len(wanted), -1).max(1), dtype=np.float64)
    floor = FLOOR * _rms(wanted.ravel()) or 1.0
    with np.errstate(all="ignore"):
        difference = np.where(got == wanted, 0.0, np.abs(got - wanted))
        whole = [_rms(d.ravel()) / max(_rms(w.ravel()), floor) for d, w in zip(difference, wanted, strict=True)]
        peaks = [_peak(d, w, floor) for d, w in zip(difference, wanted, strict=True)]
    return np.nan_to_num(np.maximum(whole, peaks), nan=np.inf, posinf=np.inf)


def _peak(difference: Array, wanted: Array, floor: float) -> float:
    rows = len(wanted) if wanted.ndim > 1 else 1
    worst = difference.reshape(rows, -1).max(1)
    scale = np.sqrt((wanted.reshape(rows, -1) ** 2).mean(1))
    return float((worst / np.maximum(scale, floor)).max() / PEAK)


def _rms(values: Array) -> float:
    """Return the root of the mean square, of entries near the ends of the range too."""
    largest = float(np.abs(values).max(initial=0.0))
    return largest * float(np.sqrt(np.mean((values / largest) ** 2))) if largest and np.isfinite(largest) else largest


def distances(op: Op, actual: Mapping[str, Array], expected: Mapping[str, Array]) -> dict[str, Array]:
    """Return the errors by step of every tensor that is in both, in the order in which one follows from another."""
    return {
        name: errors(actual[name], expected[name], steps_axis(op, name))
        for name in names(op)
        if name in actual and name in expected
    }


def epsilon(op: Op, name: str, numerics: Numerics) -> float:
    """Return the rounding error that a tensor has in a profile whatever is done: activations leave as bfloat16."""
    rounded = schema_of(op, name).role == "activation" or name == "gram"
    return BF16_EPSILON if numerics is Numerics.BF16_IO and rounded else EPSILON[numerics]
