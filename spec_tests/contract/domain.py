"""What a port takes, for tests that draw their questions: values, lengths and inputs inside its declaration.

Where a declaration has none of the values that a test wants, the test gets one that it has. For a port that declares
everything nothing here changes anything.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from spec_tests.port import Declaration, Scalar

Value = TypeVar("Value", bound=Scalar)


def fitting(declaration: Declaration, key: str, value: Value) -> Value:
    """Return a value of a configuration key if it is declared, else the first that is."""
    declared = declaration.only.get(key, frozenset({str(value)}))
    if str(value) in declared or not declared:
        return value
    return type(value)(sorted(declared)[0])


def settled(declaration: Declaration, config: Mapping[str, Scalar], keep: Sequence[str] = ()) -> dict[str, Scalar]:
    """Return a configuration with every key but those to keep at a value that is declared."""
    return {key: value if key in keep else fitting(declaration, key, value) for key, value in config.items()}


def length(declaration: Declaration, axis: str, wanted: int) -> int:
    """Return a length of an axis, no longer than is declared."""
    return min(wanted, declaration.longest.get(axis, wanted))


def within(declaration: Declaration, axes: Mapping[str, Sequence[Any]], **keys: str) -> dict[str, tuple[Any, ...]]:
    """Return the values of each axis of a grid that are declared; `keys`: what an axis is called in the table."""
    return {name: _within(declaration, keys.get(name, name), values) for name, values in axes.items()}


def _within(declaration: Declaration, key: str, values: Sequence[Any]) -> tuple[Any, ...]:
    if key in declaration.longest:
        return tuple(dict.fromkeys(length(declaration, key, value) for value in values))
    declared = tuple(value for value in values if str(value) in declaration.only.get(key, {str(value)}))
    return declared or tuple(dict.fromkeys(fitting(declaration, key, value) for value in values))
