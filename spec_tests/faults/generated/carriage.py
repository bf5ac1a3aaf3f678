"""State that is not handed on, not taken, or kept in another precision; borders of blocks at which it is lost."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Final

import numpy as np

from spec_tests.contract.schema import Operation, TensorSchema
from spec_tests.faults.fault import Arrays, Config, Wrap, in_form, with_inputs, with_outputs
from spec_tests.faults.generated.kind import SIX_DECIMALS, Kind, Place, carried, is_float, timed
from spec_tests.port import PROFILES, Array, Numerics, Run, round_to_bf16

BLOCKS: Final = (16, 32, 64)
"""Sizes of blocks in which loops over tokens run in public code."""


def start(inputs: Arrays, name: str) -> Array:
    """Return what a state is at the start of a document: zeros, for the memory's matrices M_0."""
    prefix, _, plain = name.rpartition(".")
    initial = f"{prefix}.initial" if prefix else "initial"
    if plain in ("weights", "anchor") and initial in inputs:
        return np.broadcast_to(inputs[initial], inputs[name].shape).copy()
    return np.zeros_like(inputs[name])


def _not_taken(row: Operation) -> Iterator[Place]:
    for tensor in carried(row):
        yield Place(tensor.name, with_inputs(partial(_started, tensor.name)))


def _started(name: str, _: Config, inputs: Arrays) -> Arrays:
    return {name: start(inputs, name)}


def _returned_as_given(row: Operation) -> Iterator[Place]:
    for tensor in carried(row):
        yield Place(tensor.name, with_outputs(partial(_given, tensor.name)))


def _given(name: str, _: Config, inputs: Arrays, __: Arrays) -> Arrays:
    return {name: inputs[name]}


def _returned_as_zero(row: Operation) -> Iterator[Place]:
    for tensor in carried(row):
        yield Place(tensor.name, with_outputs(partial(_zero, tensor.name)))


def _zero(name: str, _: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return {name: np.zeros_like(outputs[name])}


def _taken_in_bfloat16(row: Operation) -> Iterator[Place]:
    seen = any(tensor.role != "activation" and is_float(tensor) for tensor in row.outputs)
    for tensor in row.inputs:
        if tensor.role in ("state", "parameter"):
            numerics = PROFILES if seen else SIX_DECIMALS
            yield Place(tensor.name, with_inputs(partial(_coarse_input, tensor.name)), numerics)


def _coarse_input(name: str, _: Config, inputs: Arrays) -> Arrays:
    return {name: round_to_bf16(inputs[name])}


def lost_at(size: int, row: Operation, lost: Callable[[Arrays], Arrays]) -> Wrap:
    """Build a fault that computes a sequence in blocks of `size` and changes the state between them by `lost`."""

    def wrap(run: Run) -> Run:
        def faulty(op: str, config: Config, inputs: Arrays, *, numerics: Numerics, taps: frozenset[str]) -> Arrays:
            time = _length(row, inputs)
            if time <= size:
                return run(op, config, inputs, numerics=numerics, taps=taps)
            ask = partial(run, op, config, numerics=numerics, taps=taps)
            return _in_blocks(row, inputs, ask, lost, [*range(0, time, size), time], numerics)

        return faulty

    return wrap


def _length(row: Operation, inputs: Arrays) -> int:
    tensor = next(tensor for tensor in row.inputs if "time" in tensor.axes)
    return int(inputs[tensor.name].shape[tensor.axes.index("time")])


def _in_blocks(
    row: Operation,
    inputs: Arrays,
    ask: Callable[[Arrays], Arrays],
    lost: Callable[[Arrays], Arrays],
    edges: list[int],
    numerics: Numerics,
) -> Arrays:
    """Run block after block; a gradient is that of each block by itself, which is wrong where state carries it."""
    tensors = (*row.inputs, *row.taps, *row.outputs)
    over = {tensor.name: tensor.axes.index("time") for tensor in tensors if "time" in tensor.axes}
    axes = {f"{prefix}{name}": axis for prefix in ("", "cotangent.", "grad.") for name, axis in over.items()}
    state: dict[str, Array] = {}
    parts: list[Arrays] = []
    for a, b in pairwise(edges):
        now = {name: np.take(v, range(a, b), axes[name]) if name in axes else v for name, v in inputs.items()}
        if state:
            now |= in_form(row.op, lost({**now, **state}), numerics)
        if b < edges[-1]:
            now = {name: 0 * v if name.startswith("cotangent.") and name not in axes else v for name, v in now.items()}
        parts.append(ask(now))
        state = {tensor.name: parts[-1][tensor.name] for tensor in carried(row)}
    return {name: _joined(name, parts, axes) for name in parts[-1]}


def _joined(name: str, parts: list[Arrays], axes: Mapping[str, int]) -> Array:
    if name in axes:
        return np.concatenate([part[name] for part in parts], axes[name])
    if not name.startswith("grad."):
        return parts[-1][name]
    return np.asarray(sum((part[name] for part in parts[1:]), parts[0][name]))


def _lost_at_a_border(row: Operation) -> Iterator[Place]:
    if timed(row):
        for tensor in carried(row):
            if is_float(tensor):
                for size in BLOCKS:
                    yield Place(f"{tensor.name} after {size}", lost_at(size, row, partial(_restarted, row, tensor)))


def _restarted(row: Operation, lost: TensorSchema, now: Arrays) -> Arrays:
    return {**_handed_on(row, now), lost.name: start(now, lost.name)}


def _gradient_stops(row: Operation) -> Iterator[Place]:
    if timed(row) and carried(row):
        for size in (2, *BLOCKS):
            yield Place(f"every {size}", lost_at(size, row, partial(_handed_on, row)))


def _handed_on(row: Operation, now: Arrays) -> Arrays:
    return {tensor.name: now[tensor.name] for tensor in carried(row)}


KINDS: Final = (
    Kind("not-taken", "state that a call is handed is not taken: it begins as a document does", "state", _not_taken),
    Kind("returned-as-given", "state comes back as it was given", "state", _returned_as_given),
    Kind("returned-as-zero", "state comes back as zeros", "state", _returned_as_zero),
    Kind("taken-in-bfloat16", "state or a parameter is taken in bfloat16", "precision", _taken_in_bfloat16),
    Kind("lost-at-a-border", "state is lost after a block of 16, 32 or 64 tokens", "state", _lost_at_a_border),
    Kind("gradient-stops", "gradients do not pass a border between blocks of tokens", "gradient", _gradient_stops),
)
