"""What Triton's interpreter looks up at every start of a kernel, looked up once in a process."""

import inspect
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

import pytest


@pytest.fixture(scope="session", autouse=True)
def interpreted() -> Iterator[None]:
    """Keep which names of Triton's language the interpreter replaces: they are the same for every kernel."""
    if find_spec("triton") is None:
        yield
        return
    from triton.runtime import interpreter

    @cache
    def builtins(package: Any) -> list[tuple[str, Any]]:
        # Asked before a kernel runs, so none of them is replaced yet.
        is_builtin = interpreter.tl.core.is_builtin
        return [(name, member) for name, member in inspect.getmembers(package) if is_builtin(member)]

    def replace(package: Any, *given: object) -> None:
        for name, member in builtins(package):
            interpreter._patch_attr(package, name, member, *given)

    with patch.object(interpreter, "_patch_builtin", replace):
        yield
