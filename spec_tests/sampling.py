"""Which of many like parameters stand for the others in a quick run."""

from collections.abc import Iterable
from typing import Any, Final

import pytest

EXHAUSTIVE: Final = "exhaustive"
"""The mark of a test that repeats a property on more values; `--exhaustive` runs it, and so does `make ci`."""


def sample(values: Iterable[Any], kept: int = 1) -> list[Any]:
    """Return the parameters of a test, all but the first `kept` marked `exhaustive`; a tuple fills several names."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=marks_of(number < kept))
        for number, value in enumerate(values)
    ]


def crossed(ones: Iterable[Any], others: Iterable[Any]) -> list[Any]:
    """Return every pair, all marked `exhaustive` but a diagonal that meets each value of both."""
    first, second = list(ones), list(others)
    step = min(len(first), len(second))
    return [
        pytest.param(one, other, marks=marks_of(i % step == j % step))
        for j, other in enumerate(second)
        for i, one in enumerate(first)
    ]


def parted(items: Iterable[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Return the tests of a quick run, and those that it leaves out."""
    found: tuple[list[pytest.Item], list[pytest.Item]] = ([], [])
    for item in items:
        found[item.get_closest_marker(EXHAUSTIVE) is not None].append(item)
    return found


def marks_of(kept: bool) -> tuple[pytest.MarkDecorator, ...]:
    """Return the marks of a parameter that is kept in a quick run, or is not."""
    return () if kept else (pytest.mark.exhaustive,)
