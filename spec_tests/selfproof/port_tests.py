"""The tests of the suite as plain calls, so that thousands of subjects can be put through them in one process."""

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import pytest

from spec_tests.discovery import modules_of_tests
from spec_tests.port import Numerics, Port

PREFIX: Final = "test_"


@dataclass(frozen=True)
class PortTest:
    """One test with its parameters filled in; `requirements` are the sentences that it holds.

    `numerics` is the precision in which a saboteur is put to it.
    """

    name: str
    requirements: tuple[str, ...]
    call: Callable[[Port], None]
    numerics: Numerics = Numerics.F64


def port_tests() -> Iterator[PortTest]:
    """Yield every test that takes a port and nothing that only pytest can give."""
    for _, module in sorted(modules_of_tests().items()):
        yield from tests_of(module, fixtures={"port"})


def tests_of(module: str, fixtures: set[str]) -> Iterator[PortTest]:
    """Yield the tests of a module that take exactly these fixtures, one for each set of parameters."""
    for name, function in list(vars(importlib.import_module(module)).items()):
        if not name.startswith(PREFIX) or not inspect.isfunction(function):
            continue
        marks: list[pytest.Mark] = getattr(function, "pytestmark", [])
        requirements = tuple(str(one) for mark in marks if mark.name == "spec" for one in mark.args)
        for label, values in _parameters(marks):
            if set(inspect.signature(function).parameters) - set(values) == fixtures:
                title = f"{module.rpartition('.')[2]}:{name}{label}"
                yield PortTest(title, requirements, _bound(function, values, fixtures))


def _bound(function: Callable[..., None], values: dict[str, Any], fixtures: set[str]) -> Callable[[Port], None]:
    def call(port: Port) -> None:
        function(**values, **({"port": port} if "port" in fixtures else {}))

    return call


def _parameters(marks: list[pytest.Mark]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a label and the values of each combination of the `parametrize` marks."""
    choices = []
    for mark in marks:
        if mark.name == "parametrize":
            names = mark.args[0].replace(" ", "").split(",") if isinstance(mark.args[0], str) else list(mark.args[0])
            choices.append([_values(names, value) for value in mark.args[1]])
    for number, combination in enumerate(product(*choices)):
        values = {name: value for part in combination for name, value in part.items()}
        yield f"[{number}]" if choices else "", values


def _values(names: list[str], value: Any) -> dict[str, Any]:
    # A `pytest.param(...)` is a tuple with more fields: its values stand in the first.
    plain = getattr(value, "values", value) if type(value).__name__ == "ParameterSet" else value
    if len(names) == 1:
        return {names[0]: plain[0] if plain is not value else plain}
    return dict(zip(names, plain, strict=True))
