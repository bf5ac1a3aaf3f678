"""Which of many like parameters, or precisions of a stored case or a long test, stand for others in a quick run."""

from collections.abc import Collection, Iterable
from typing import Any, Final
from zlib import crc32

import pytest

EXHAUSTIVE: Final = "exhaustive"
"""The mark of a test that repeats a property on more values; `--exhaustive` runs it, and so does `make ci`."""


COVERING: Final = 101
"""The number from which stored cases cover values, pairs and sizes; those before it each have a reason of their own."""


def sample(values: Iterable[Any], kept: int = 1) -> list[Any]:
    """Return the parameters of a test, all but the first `kept` marked `exhaustive`; a tuple fills several names."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=marks_of(number < kept))
        for number, value in enumerate(values)
    ]


def in_turn(values: Iterable[Any], turn: int) -> list[Any]:
    """Return the parameters of a test, every second marked `exhaustive`; those that turn 0 keeps turn 1 leaves."""
    return [pytest.param(value, marks=marks_of(number % 2 == turn)) for number, value in enumerate(values)]


def crossed(ones: Iterable[Any], others: Iterable[Any]) -> list[Any]:
    """Return every pair, all marked `exhaustive` but a diagonal that meets each value of both."""
    first, second = list(ones), list(others)
    step = min(len(first), len(second))
    return [
        pytest.param(one, other, marks=marks_of(i % step == j % step))
        for j, other in enumerate(second)
        for i, one in enumerate(first)
    ]


def parted(
    items: Iterable[pytest.Item], others: Collection[pytest.Item] = ()
) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Return the tests of a quick run, and those that it leaves out: the marked ones and these others."""
    found: tuple[list[pytest.Item], list[pytest.Item]] = ([], [])
    for item in items:
        found[item.get_closest_marker(EXHAUSTIVE) is not None or item in others].append(item)
    return found


def repeated(items: Iterable[pytest.Item]) -> set[pytest.Item]:
    """Return the covering cases in all of their precisions but one, which is another from case to case."""
    found: dict[str, list[pytest.Item]] = {}
    for item in items:
        mark = item.get_closest_marker("case")
        if mark and _number(mark.args[0]) >= COVERING:
            found.setdefault(mark.args[0], []).append(item)
    return {item for name, asked in found.items() for item in asked if item is not asked[_number(name) % len(asked)]}


def in_one(item: pytest.Item, numerics: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the precisions in which a test asks the reference: of a long one only one, another from test to test."""
    turn = crc32(item.nodeid.rpartition("/")[2].encode())
    return (numerics[turn % len(numerics)],) if numerics and item.get_closest_marker("long") else numerics


def _number(case: str) -> int:
    return int(case.rpartition("-")[2])


def marks_of(kept: bool) -> tuple[pytest.MarkDecorator, ...]:
    """Return the marks of a parameter that is kept in a quick run, or is not."""
    return () if kept else (pytest.mark.exhaustive,)
