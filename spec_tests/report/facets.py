"""What a question asks of an operation, in words that can be counted, and the words that the table demands.

A facet is a value of a key, two values of names that meet, a length, a class of sizes, a derivative that is not zero,
or an input that holds something not finite in a place that must not be seen. The demands follow from the table of
operations alone; where one cannot be met, `spec_tests.report.impossible` says why.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from spec_tests.contract.asked import Question
from spec_tests.contract.features import MARKS
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.schema import Operation, TensorSchema
from spec_tests.port import Array, Scalar

LARGE: Final[Mapping[str, int]] = {
    "time": 64,
    "steps": 64,
    "features": 16,
    "values": 8,
    "heads": 4,
    "batch": 4,
    "rows": 128,
    "columns": 128,
}
"""Above which length an axis is large: blocks of 16, 32 or 64 and warps of 4 and 8 have a border by then."""
FAR: Final = (1_000, 100_000)
"""Positions beyond tables of usual length, and beyond small integers."""
MANY: Final = 12
HIDDEN: Final = 16
ONE_HEAD: Final = "one head and several rows"
SQUARE: Final = "features as many as values"
WIDE: Final = f"hidden above {HIDDEN}"
DOCUMENTS: Final = f"{MANY} documents in a row"


@dataclass(frozen=True)
class Demand:
    """A facet that must be asked; with `count` above one, so many facets that begin with these words."""

    words: str
    count: int = 1

    def met(self, asked: AbstractSet[str]) -> bool:
        """Return whether the facets asked of an operation hold it."""
        if self.count == 1:
            return self.words in asked
        return sum(facet.startswith(self.words) for facet in asked) >= self.count

    def __str__(self) -> str:
        return self.words if self.count == 1 else f"{self.count} values of {self.words.rstrip(' =')}"


def demands(row: Operation) -> Iterator[Demand]:
    """Yield everything that an operation must be asked for."""
    yield from _demanded_values(row)
    yield from _demanded_sizes(row)
    yield from (Demand(f"cotangent of {tensor.name}") for tensor in _floating(row.outputs))
    yield from (Demand(f"gradient of {tensor.name}") for tensor in _floating(row.inputs))
    yield from (Demand(f"gradient with {name}={value}") for name, values in _named(row) for value in values)
    yield from (Demand(f"not finite: {name}") for name in out_of_sight(row))


def facets(question: Question) -> Iterator[str]:
    """Yield the facets of a question, the same one more than once perhaps."""
    row = OPERATIONS[question.op]
    named = [f"{name}={_value(question.config[name])}" for name, _ in _named(row)]
    yield from (f"{name}={_value(value)}" for name, value in question.config.items())
    yield from (" ".join(pair) for pair in combinations(named, 2))
    yield from _sizes(row, question)
    yield from (f"not finite: {name}" for name in out_of_sight(row) if not np.isfinite(question.given[name]).all())
    seen = [tensor.name for tensor in row.outputs if question.given.get(f"cotangent.{tensor.name}", np.zeros(0)).any()]
    yield from (f"cotangent of {name}" for name in seen)
    if seen:
        yield from (f"gradient with {value}" for value in named)
        gradients = {tensor.name: question.answer[f"grad.{tensor.name}"] for tensor in _floating(row.inputs)}
        yield from (f"gradient of {name}" for name, value in gradients.items() if value.any())


def out_of_sight(row: Operation) -> list[str]:
    """Return the inputs that hold what the next document must not see: its tokens so far, and what is carried."""
    if not _with_documents(row):
        return []
    carried = {tensor.name for tensor in row.outputs}
    return [tensor.name for tensor in _floating(row.inputs) if "time" in tensor.axes or tensor.name in carried]


def _value(value: Scalar) -> str:
    """Return a value in the words of facets: 0 and 0.0 are one."""
    return str(value) if isinstance(value, str | bool) else f"{value:g}"


def _named(row: Operation) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the keys whose values can be listed, with the values."""
    for name, kind in row.config.items():
        if kind is bool:
            yield name, ("False", "True")
        elif isinstance(kind, tuple):
            yield name, kind


def _demanded_values(row: Operation) -> Iterator[Demand]:
    named = [[f"{name}={value}" for value in values] for name, values in _named(row)]
    yield from (Demand(value) for values in named for value in values)
    yield from (Demand(f"{a} {b}") for first, second in combinations(named, 2) for a in first for b in second)
    for name, kind in row.config.items():
        if kind in (int, float):
            yield Demand(f"{name}=", 2)
            yield Demand(f"{name}=0")


def _demanded_sizes(row: Operation) -> Iterator[Demand]:
    axes = _axes(row.inputs)
    yield from (Demand(f"{axis} of length ", 2) for axis in axes)
    yield from (Demand(f"{axis} above {length}") for axis, length in LARGE.items() if axis in axes)
    if {"heads", "batch"} <= set(axes):
        yield Demand(ONE_HEAD)
    if {"features", "values"} <= set(axes):
        yield Demand(SQUARE)
    if "architecture" in row.config:
        yield Demand(WIDE)
    if _with_documents(row) and "time" in axes:
        yield Demand(DOCUMENTS)
    if _positions(row):
        yield from (Demand(f"position {place}") for place in FAR)


def _sizes(row: Operation, question: Question) -> Iterator[str]:
    lengths = {
        axis.partition("-")[0]: length + int(axis.partition("-")[2] or 0)
        for tensor in row.inputs
        for axis, length in zip(tensor.axes, question.given[tensor.name].shape, strict=True)
    }
    yield from (f"{axis} of length {length}" for axis, length in lengths.items())
    yield from (f"{axis} above {least}" for axis, least in LARGE.items() if lengths.get(axis, 0) > least)
    if lengths.get("heads") == 1 and lengths.get("batch", 0) > 1:
        yield ONE_HEAD
    if "values" in lengths and lengths["values"] == lengths.get("features"):
        yield SQUARE
    if question.config.get("architecture") == "mlp":
        hidden = lengths["parameters"] // (lengths["features"] + lengths["values"])
        yield from [WIDE] * (hidden > HIDDEN)
    if _beginnings(question.given) >= MANY:
        yield DOCUMENTS
    for name in _positions(row):
        last = int(question.given[name].max(initial=0))
        yield from (f"position {place}" for place in FAR if last >= place)


def _beginnings(given: Mapping[str, Array]) -> int:
    """Return the largest number of tokens of a row that begin a document."""
    marked = [given[name] != 0 for name in MARKS if name in given]
    marks = marked or [given.get("position", np.ones(1)) == 0]
    return max(int(mark.sum(-1).max(initial=0)) if mark.ndim == 2 else 0 for mark in marks)


def _axes(tensors: tuple[TensorSchema, ...]) -> list[str]:
    names = [axis.partition("-")[0] for tensor in tensors for axis in tensor.axes]
    return [name for name in dict.fromkeys(names) if not name.isdecimal()]


def _floating(tensors: tuple[TensorSchema, ...]) -> list[TensorSchema]:
    return [tensor for tensor in tensors if tensor.role != "index"]


def _positions(row: Operation) -> list[str]:
    return [tensor.name for tensor in row.inputs if tensor.name.rpartition(".")[2] == "position"]


def _with_documents(row: Operation) -> bool:
    return bool(_positions(row))
