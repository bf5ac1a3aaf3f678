"""The same question with its rows, heads or channels in another order: a legitimate change of the order of sums.

Which axes of an operation may be relabelled is found, not declared: those where the answer of a sound port, put back in
order, stays the same. The packed matrices of the memory are relabelled by value, feature and hidden unit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.outcome import PortError
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Numerics, Port
from spec_tests.vectors.compare import STEPS, distances, schema_of
from spec_tests.vectors.question import Question

SAME = 1e-9
PACKED = ("features", "values", "parameters")


@dataclass(frozen=True)
class Relabelling:
    """A new order for some axes, by name."""

    order: Mapping[str, Array]

    def apply(self, axes: tuple[str, ...], value: Array) -> Array:
        """Return the array in the new order."""
        for place, axis in enumerate(axes):
            if axis in self.order:
                value = np.take(value, self.order[axis], place)
        return value

    def undo(self, axes: tuple[str, ...], value: Array) -> Array:
        """Return an array in the new order in the old one."""
        return Relabelling({axis: np.argsort(order) for axis, order in self.order.items()}).apply(axes, value)

    def relabel(self, question: Question) -> Question:
        """Return the question in the new order."""
        axes = {tensor.name: tensor.axes for tensor in OPERATIONS[question.op].inputs}
        outputs = {tensor.name: tensor.axes for tensor in OPERATIONS[question.op].outputs}
        inputs = {name: self.apply(axes[name], value) for name, value in question.inputs.items()}
        asked = {name: self.apply(outputs[name], value) for name, value in question.cotangents.items()}
        return replace(question, inputs=inputs, cotangents=asked)

    def restore(self, question: Question, answer: Mapping[str, Array]) -> dict[str, Array]:
        """Return the answer to the relabelled question in the old order."""
        return {name: self.undo(schema_of(question.op, name).axes, value) for name, value in answer.items()}


def relabelling(question: Question, groups: tuple[tuple[str, ...], ...], seed: int) -> Relabelling:
    """Return random orders of the axes in the groups."""
    lengths = _lengths(question)
    order: dict[str, Array] = {}
    for number, group in enumerate(groups):
        rng = generator(1000 * seed + number)
        order |= _packed(question, rng) if group == PACKED else {group[0]: shuffled(rng, lengths[group[0]])}
    return Relabelling(order)


def shuffled(rng: np.random.Generator, length: int) -> Array:
    """Return a random order of range(length) that is not the old one, if there is another."""
    order = rng.permutation(length)
    return np.roll(order, 1) if (order == np.arange(length)).all() else order


def _lengths(question: Question) -> dict[str, int]:
    return {
        axis: length
        for tensor in OPERATIONS[question.op].inputs
        for axis, length in zip(tensor.axes, question.inputs[tensor.name].shape, strict=True)
        if "-" not in axis and axis not in STEPS
    }


def symmetries(question: Question, port: Port) -> tuple[tuple[str, ...], ...]:
    """Return the groups of axes whose order does not matter to the port's answer in float64."""
    lengths = _lengths(question)
    groups = [(axis,) for axis in sorted(lengths) if axis not in PACKED and lengths[axis] > 1]
    packed = {"parameters", "keys", "values"} <= lengths.keys() | question.inputs.keys()
    candidates = [*groups, PACKED] if packed else groups
    plain = question.put(port, Numerics.F64)
    return tuple(group for group in candidates if _same(question, group, port, plain))


def _same(question: Question, group: tuple[str, ...], port: Port, plain: Mapping[str, Array]) -> bool:
    changed = relabelling(question, (group,), seed=1)
    try:
        answer = changed.restore(question, changed.relabel(question).put(port, Numerics.F64))
    except PortError:
        # The port refuses the relabelled question, as it may.
        return False
    return all((errors <= SAME).all() for errors in distances(question.op, answer, plain).values())


def _packed(question: Question, rng: np.random.Generator) -> dict[str, Array]:
    """Return orders of features and values, and of packed matrices with hidden units in a new order too.

    The identity part of an MLP ties the first features to the values: there the two share their order.
    """
    features, values = question.inputs["keys"].shape[-1], question.inputs["values"].shape[-1]
    count = question.inputs["initial"].shape[-1]
    # An operation without the key has matrices.
    architecture = question.config.get("architecture", "matrix")
    if architecture == "matrix":
        by_value, by_feature = shuffled(rng, values), shuffled(rng, features)
        packed = np.arange(count).reshape(values, features)[by_value][:, by_feature].ravel()
        gates = {"rows": {"gate": by_value}, "columns": {"gate": by_feature}}
        found = {"values": by_value, "features": by_feature, "parameters": packed}
        return found | gates.get(str(question.config.get("gate_axis")), {})
    shared = min(values, features)
    first = shuffled(rng, shared)
    by_value = np.concatenate([first, shared + shuffled(rng, values - shared)])
    by_feature = np.concatenate([first, shared + shuffled(rng, features - shared)])
    if architecture == "linear_norm":
        packed = np.arange(count).reshape(values, features)[by_value][:, by_feature].ravel()
        return {"values": by_value, "features": by_feature, "parameters": packed}
    inner = 2 if architecture == "mlp_glu" else 1
    hidden = count // (values + inner * features)
    unit = shuffled(rng, hidden)
    outer = np.arange(values * hidden).reshape(values, hidden)[by_value][:, unit]
    matrices = values * hidden + np.arange(count - values * hidden).reshape(inner, hidden, features)
    packed = np.concatenate([outer.ravel(), matrices[:, unit][:, :, by_feature].ravel()])
    return {"values": by_value, "features": by_feature, "parameters": packed}
