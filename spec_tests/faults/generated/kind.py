"""What a kind of generated faults is: one mistake that every row of the table of operations can have somewhere."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from spec_tests.contract.schema import Operation, TensorSchema
from spec_tests.faults.fault import EVERY_PROFILE, Wrap
from spec_tests.port import Numerics, Op

SIX_DECIMALS: Final = (Numerics.F64, Numerics.F32)
"""Profiles in which nothing is rounded to bfloat16."""


@dataclass(frozen=True)
class Place:
    """Where in an operation a mistake sits, and the port that has it there; `numerics`, where it can show at all."""

    name: str
    wrap: Wrap
    numerics: tuple[Numerics, ...] = EVERY_PROFILE


@dataclass(frozen=True)
class Kind:
    """One kind of mistake.

    `aspect` is what of an operation forbids it (`spec_tests.faults.generated.sentences`), `make` yields the places
    where an operation can have it.
    """

    name: str
    what: str
    aspect: str
    make: Callable[[Operation], Iterator[Place]]


@dataclass(frozen=True)
class Generated:
    """One fault of one kind in one place of one operation. The id is stable: operation, kind and place."""

    id: str
    kind: str
    op: Op
    forbidden_by: tuple[str, ...]
    wrap: Wrap
    numerics: tuple[Numerics, ...]


def carried(row: Operation) -> list[TensorSchema]:
    """Return what an operation takes and gives back under the same name: its state."""
    returned = {tensor.name for tensor in row.outputs}
    return [tensor for tensor in row.inputs if tensor.name in returned]


def timed(row: Operation) -> bool:
    """Return whether the operation carries state over a sequence of tokens, which a position or a reset counts."""
    counted = any(tensor.name.rpartition(".")[2] in ("position", "reset") for tensor in row.inputs)
    return counted and any("time" in tensor.axes for tensor in row.inputs)


def is_float(tensor: TensorSchema) -> bool:
    """Return whether an array holds floating-point numbers."""
    return tensor.role != "index"
