"""Which features the inputs of a question have: each is read off the arrays and the configuration, none is a tag.

A port that does not take a feature names it in `Declaration.without`. It is asked no question that has it, and each of
those counts as absent.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np

from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import Array, Feature, Op, Scalar

Config = Mapping[str, Scalar]
Inputs = Mapping[str, Array]

MEANING: Final[Mapping[Feature, str]] = {
    Feature.RETENTION: "a retention gate that is not 1: a memory that forgets",
    Feature.VARYING_RETENTION: "a retention gate that is not one number throughout the call",
    Feature.MOMENTUM: "a momentum gate or a momentum S that is not 0, under a rule that has momentum",
    Feature.VARYING_MOMENTUM: "a momentum gate that is not one number throughout the call, under the same rules",
    Feature.VARYING_STEP: "a step size that is not one number throughout the call",
    Feature.WINDOW_WEIGHTS: "a window weight that is not 1",
    Feature.GATE_ENDS: "a gate of exactly 0 or 1: what a sigmoid does not give; no retention is one, too",
    Feature.RESETS: "a document that begins inside the call",
    Feature.STATE: "a call that goes on from an earlier one; a first step of Muon has none",
    Feature.PHASES: "rows at different places of their chunks, where a chunk has several tokens",
    Feature.MID_CHUNK: "a call that begins or ends inside a chunk of several tokens",
    Feature.KEY_LENGTHS: "a key of the memory or of the Q-K projection whose length is not 1",
    Feature.D_V: "values of another length than the features of their keys",
    Feature.RECTANGLES: "a matrix to be orthogonalised or projected with more rows than columns, or fewer",
    Feature.ZERO: "a matrix or vector of nothing but zeros to be normalised, orthogonalised or projected on",
    Feature.RANGE: "a number, or the largest of a matrix or vector, whose square single precision does not hold",
    Feature.EMPTY: "no row, no token, or vectors of no entry",
}
"""What each feature says of the inputs of a question."""

LARGE, SMALL = 1.8e19, 1.1e-19
"""Beyond these a square overflows single precision, or is below its smallest normal number."""
LENGTH: Final = 1e-6
"""How near to 1 a length must be to count as 1: bfloat16 numbers that were normalised before are not."""
MARKS: Final = ("reset", "reset_context", "reset_memory")
"""What marks the tokens at which a document, a context or a memory begins."""
GATES: Final = ("retention", "momentum_decay", "step_size", "window_weights")
NORMALISED: Final[Mapping[Op, str]] = {
    Op.NEWTON_SCHULZ: "matrix",
    Op.L2_NORMALIZE: "x",
    Op.MUON_STEP: "gradient",
    Op.PERP_GRAD: "weight",
}
"""What an operation divides by the size of."""
EXTENTS: Final = frozenset({"batch", "examples", "time", "steps", "rows", "columns", "dim", "channels", "numbers"})
"""Axes that are seldom empty; a window or a set of persistent tokens of length 0 is as usual as any other."""


def features_of(op: Op, config: Config, inputs: Inputs) -> frozenset[Feature]:
    """Return the features of a question, whose inputs are complete."""
    found = (feature for feature, has in _SIGNS.items() if has(op, config, inputs))
    return frozenset(found)


def _off(name: str, usual: float) -> Callable[[Op, Config, Inputs], bool]:
    """Return a test whether some entry of a gate is not `usual`."""
    return lambda op, config, inputs: name in inputs and bool((inputs[name] != usual).any())


def _varies(name: str) -> Callable[[Op, Config, Inputs], bool]:
    return lambda op, config, inputs: (
        name in inputs and inputs[name].size > 0 and bool((inputs[name] != inputs[name].flat[0]).any())
    )


def _has_momentum(op: Op, config: Config, inputs: Inputs) -> bool:
    gates = "momentum_decay" in inputs and config.get("rule") != "delta"
    return gates and bool(inputs["momentum_decay"].any() or inputs["momentum"].any())


def _momentum_varies(op: Op, config: Config, inputs: Inputs) -> bool:
    return config.get("rule") != "delta" and _varies("momentum_decay")(op, config, inputs)


def _at_an_end(op: Op, config: Config, inputs: Inputs) -> bool:
    gates = [inputs[name] for name in GATES if name in inputs]
    return any(bool(((gate == 0.0) | (gate == 1.0)).any()) for gate in gates)


def _resets(op: Op, config: Config, inputs: Inputs) -> bool:
    marks = [inputs[name] for name in MARKS if name in inputs]
    if marks:
        return any(bool(mark.any()) for mark in marks)
    return _by_token(op, inputs) and not bool(inputs["position"][:, 1:].all())


def _by_token(op: Op, inputs: Inputs) -> bool:
    """Return whether `position` numbers every token, and not the tokens that a row has had."""
    return "position" in inputs and inputs["position"].ndim == 2


def _carries(op: Op, config: Config, inputs: Inputs) -> bool:
    if op is Op.MUON_STEP:
        return bool(inputs["buffer"].any())
    positions = [value for name, value in inputs.items() if name.rpartition(".")[2] == "position"]
    return any(bool((value[:, :1] if value.ndim == 2 else value).any()) for value in positions)


def _phases(config: Config, inputs: Inputs) -> Array:
    """Return the place in its chunk at which each row begins; nothing where a chunk has one token."""
    chunk = int(config.get("chunk", 1))
    inside = chunk > 1 and "position" in inputs
    return np.asarray(inputs["position"] % chunk) if inside else np.zeros(0, dtype=np.int64)


def _out_of_phase(op: Op, config: Config, inputs: Inputs) -> bool:
    return len(set(_phases(config, inputs).tolist())) > 1


def _inside_a_chunk(op: Op, config: Config, inputs: Inputs) -> bool:
    begins = _phases(config, inputs)
    marks = next((inputs[name] for name in reversed(MARKS) if name in inputs), np.zeros((0, 0)))
    tokens = marks.shape[1] if marks.ndim == 2 else 1
    return bool(begins.any() or ((begins + tokens) % int(config.get("chunk", 1))).any()) if begins.size else False


def _keys_of_other_lengths(op: Op, config: Config, inputs: Inputs) -> bool:
    if "keys" not in inputs or not ("initial" in inputs or op is Op.QK_PROJECTION):
        return False
    keys = inputs["keys"].astype(np.float64)
    return bool((np.abs((keys**2).sum(-1) - 1.0) > LENGTH).any())


def _lengths_differ(first: str, second: str) -> Callable[[Op, Config, Inputs], bool]:
    def differ(op: Op, config: Config, inputs: Inputs) -> bool:
        lengths = dict(_axes(op, inputs))
        return first in lengths and second in lengths and lengths[first] != lengths[second]

    return differ


def _rectangular(op: Op, config: Config, inputs: Inputs) -> bool:
    return op in NORMALISED and _lengths_differ("rows", "columns")(op, config, inputs)


def _axes(op: Op, inputs: Inputs) -> Iterator[tuple[str, int]]:
    for tensor in OPERATIONS[op].inputs:
        yield from zip(tensor.axes, inputs[tensor.name].shape, strict=True)


def _sizes(op: Op, value: Array, name: str) -> Array:
    """Return the largest entry by size of each matrix, of each vector where there are none."""
    axes = next(tensor.axes for tensor in OPERATIONS[op].inputs if tensor.name == name)
    together = (-2, -1) if axes[-2:] == ("rows", "columns") else (-1,)
    return np.asarray(np.abs(value).max(together, initial=0.0) if value.ndim else np.abs(value))


def _zero(op: Op, config: Config, inputs: Inputs) -> bool:
    name = NORMALISED.get(op)
    return name is not None and inputs[name].size > 0 and not _sizes(op, inputs[name], name).all()


def _beyond(op: Op, config: Config, inputs: Inputs) -> bool:
    floats = {name: value for name, value in inputs.items() if value.dtype.kind == "f" and not name.startswith("cot")}
    if any(bool((np.abs(value) > LARGE).any()) for value in floats.values()):
        return True
    name = NORMALISED.get(op)
    sizes = _sizes(op, inputs[name], name) if name is not None else np.zeros(0)
    return bool(((sizes > 0.0) & (sizes < SMALL)).any())


def _empty(op: Op, config: Config, inputs: Inputs) -> bool:
    return any(axis in EXTENTS and length == 0 for axis, length in _axes(op, inputs))


_SIGNS: Final[Mapping[Feature, Callable[[Op, Config, Inputs], bool]]] = {
    Feature.RETENTION: _off("retention", 1.0),
    Feature.VARYING_RETENTION: _varies("retention"),
    Feature.MOMENTUM: _has_momentum,
    Feature.VARYING_MOMENTUM: _momentum_varies,
    Feature.VARYING_STEP: _varies("step_size"),
    Feature.WINDOW_WEIGHTS: _off("window_weights", 1.0),
    Feature.GATE_ENDS: _at_an_end,
    Feature.RESETS: _resets,
    Feature.STATE: _carries,
    Feature.PHASES: _out_of_phase,
    Feature.MID_CHUNK: _inside_a_chunk,
    Feature.KEY_LENGTHS: _keys_of_other_lengths,
    Feature.D_V: _lengths_differ("features", "values"),
    Feature.RECTANGLES: _rectangular,
    Feature.ZERO: _zero,
    Feature.RANGE: _beyond,
    Feature.EMPTY: _empty,
}
