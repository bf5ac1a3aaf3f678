"""The table of operations for a person: one line an operation, which the JSON schema says in a page."""

from collections.abc import Iterator, Mapping
from typing import Final

from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.schema import Operation, TensorSchema
from spec_tests.port import Scalar

ROLES: Final[Mapping[str, str]] = {"activation": "a", "parameter": "p", "state": "s", "index": "i"}


def lines() -> Iterator[str]:
    """Yield each operation: level, name, configuration, inputs, outputs and taps."""
    for row in OPERATIONS.values():
        yield _line(row)


def _line(row: Operation) -> str:
    config = ", ".join(f"{key}={_values(allowed)}" for key, allowed in row.config.items())
    parts = [f"L{row.level} {row.op}({config}):", *map(_tensor, row.inputs), "->", *map(_tensor, row.outputs)]
    return " ".join([*parts, *(["taps", *map(_tensor, row.taps)] if row.taps else [])])


def _values(allowed: type[Scalar] | tuple[str, ...]) -> str:
    return "|".join(allowed) if isinstance(allowed, tuple) else allowed.__name__


def _tensor(tensor: TensorSchema) -> str:
    return f"{tensor.name}[{' '.join(tensor.axes)}]:{ROLES[tensor.role]}"
