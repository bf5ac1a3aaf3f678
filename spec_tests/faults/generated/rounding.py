"""Results in a coarser precision than the profile's, or rounded otherwise than the conventions say."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import numpy as np

from spec_tests.contract.schema import Operation
from spec_tests.faults.fault import Arrays, Config, Wrap, in_form, with_inputs, with_outputs
from spec_tests.faults.generated.kind import SIX_DECIMALS, Kind, Place, is_float
from spec_tests.port import PROFILES, Array, Numerics, Run, round_to_bf16

WIDTHS: Final = {"int8": 1 << 7, "int16": 1 << 15}
TABLE: Final = 64


def away_from_zero(x: Array) -> Array:
    """Return the nearest bfloat16 numbers, ties away from zero, as float32."""
    bits = np.asarray(x, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32)


def truncated(x: Array) -> Array:
    """Return float32 numbers with the bits cut off that bfloat16 does not have."""
    return (np.asarray(x, dtype=np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def leaving_by(name: str, rounding: Callable[[Array], Array]) -> Wrap:
    """Build a fault that rounds one result to bfloat16 by `rounding`, from what was computed in full."""

    def wrap(run: Run) -> Run:
        def faulty(op: str, config: Config, inputs: Arrays, *, numerics: Numerics, taps: frozenset[str]) -> Arrays:
            # In `bf16_io` a sound port has rounded already: the same inputs in `f32` give what it rounds.
            full = Numerics.F32 if numerics is Numerics.BF16_IO else numerics
            outputs = run(op, config, inputs, numerics=full, taps=taps)
            rest = {other: value for other, value in outputs.items() if other != name}
            return {**in_form(op, rest, numerics), name: np.asarray(rounding(outputs[name]), numerics.dtype)}

        return faulty

    return wrap


def _cut_off(row: Operation) -> Iterator[Place]:
    for tensor in row.outputs:
        if is_float(tensor):
            yield Place(tensor.name, leaving_by(tensor.name, truncated))


def _returned_in_bfloat16(row: Operation) -> Iterator[Place]:
    for tensor in row.outputs:
        if is_float(tensor):
            numerics = SIX_DECIMALS if tensor.role == "activation" else PROFILES
            yield Place(tensor.name, with_outputs(partial(_coarse, tensor.name)), numerics)


def _coarse(name: str, _: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return {name: round_to_bf16(outputs[name])}


def _single(row: Operation) -> Iterator[Place]:
    for tensor in row.outputs:
        if is_float(tensor):
            yield Place(tensor.name, with_outputs(partial(_in_float32, tensor.name)), (Numerics.F64,))


def _in_float32(name: str, _: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return {name: outputs[name].astype(np.float32)}


def _narrow_positions(row: Operation) -> Iterator[Place]:
    for tensor in row.inputs:
        if tensor.name.rpartition(".")[2] == "position":
            for name, width in WIDTHS.items():
                yield Place(f"{tensor.name} as {name}", with_inputs(partial(_wrapped, tensor.name, width)))
            yield Place(f"{tensor.name} in a table of {TABLE}", with_inputs(partial(_clamped, tensor.name)))


def _wrapped(name: str, width: int, _: Config, inputs: Arrays) -> Arrays:
    return {name: inputs[name] % width}


def _clamped(name: str, _: Config, inputs: Arrays) -> Arrays:
    return {name: np.minimum(inputs[name], TABLE - 1)}


KINDS: Final = (
    Kind("truncated", "a result leaves as bfloat16 by cutting bits off", "rounding", _cut_off),
    Kind("returned-in-bfloat16", "a result is rounded to bfloat16 and must not be", "precision", _returned_in_bfloat16),
    Kind("in-float32", "a result of `f64` went through float32", "precision", _single),
    Kind("narrow-position", "a position in 8 or 16 bits, or in a table of 64", "hidden", _narrow_positions),
)
