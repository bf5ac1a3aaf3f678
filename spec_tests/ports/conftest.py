"""What Triton's interpreter finds out at every call or every operation, found out once in a process, or not at all."""

import inspect
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from importlib.util import find_spec
from math import prod
from typing import Any
from unittest.mock import patch

import pytest


@pytest.fixture(scope="session", autouse=True)
def interpreted() -> Iterator[None]:
    """Have the interpreter do the same in half the time."""
    if find_spec("triton") is None:
        yield
        return
    from triton.runtime import interpreter

    with ExitStack() as stack:
        stack.enter_context(patch.object(interpreter, "_patch_builtin", replacing(interpreter)))
        stack.enter_context(patch.object(interpreter, "_patch_lang", replacing_once(interpreter)))
        stack.enter_context(patch.object(interpreter, "_get_np_dtype", types_of_numpy(interpreter)))
        stack.enter_context(patch.object(interpreter.tl.tensor, "__init__", beginning(interpreter.tl)))
        semantic = interpreter.interpreter_semantic
        if not semantic.builder.options.debug:
            # What this finds is an assertion, and without `debug` the interpreter drops those.
            stack.enter_context(patch.object(semantic, "binary_op_sanitize_overflow_impl", lambda *given: None))
        yield


def types_of_numpy(interpreter: Any) -> Any:
    """Return what gives numpy's type for one of Triton, a block's being that of its elements."""
    language, find = interpreter.tl, interpreter._get_np_dtype
    found = cache(find)

    def type_of(kind: Any) -> Any:
        element = kind.element_ty if isinstance(kind, language.block_type) else kind
        return (find if isinstance(element, language.pointer_type) else found)(element)

    return type_of


def beginning(language: Any) -> Any:
    """Return what makes a tensor of the language: all of the same lengths share one shape."""

    @cache
    def shape_of(lengths: tuple[int, ...]) -> tuple[Any, Any]:
        return language.core.tuple([language.constexpr(each) for each in lengths]), language.constexpr(prod(lengths))

    def begin(tensor: Any, handle: Any, kind: Any) -> None:
        tensor.handle, tensor.type, tensor.dtype = handle, kind, kind.scalar
        tensor.shape, tensor.numel = shape_of(tuple(kind.shape) if kind.is_block() else ())

    return begin


def replacing(interpreter: Any) -> Any:
    """Return what replaces the names of Triton's language in a module: the same ones for every kernel."""

    @cache
    def builtins(package: Any) -> list[tuple[str, Any]]:
        # Asked before a kernel runs, so none of them is replaced yet.
        is_builtin = interpreter.tl.core.is_builtin
        return [(name, member) for name, member in inspect.getmembers(package) if is_builtin(member)]

    def replace(package: Any, *given: object) -> None:
        for name, member in builtins(package):
            interpreter._patch_attr(package, name, member, *given)

    return replace


def replacing_once(interpreter: Any) -> Any:
    """Return what replaces them all for a function, which leaves alone what a function that calls it has replaced."""
    replaced: set[Any] = set()
    replace = interpreter._patch_lang

    @cache
    def seen(function: Any) -> frozenset[Any]:
        languages = (interpreter.tl, interpreter.tl.core)
        return frozenset(one for one in languages if any(one is each for each in function.__globals__.values()))

    def once(function: Any) -> Any:
        if seen(function) and seen(function) <= replaced:
            return interpreter._LangPatchScope()
        scope = replace(function)
        replaced.update(seen(function))
        restore = scope.restore

        def forget() -> None:
            replaced.clear()
            restore()

        scope.restore = forget
        return scope

    return once
