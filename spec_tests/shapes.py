"""The shapes in a signature, and all types beside them, are checked once for every form of a call.

A signature that names no shape and no text is left to mypy: six of ten calls are of such functions.

The form of a value is all that an annotation can see of it: shape and number type of an array, parts of a container,
text as it is where a `Literal` names some, and the class of anything else. What was checked once needs no second check:
the same forms of arguments and result get the same answer. So nothing goes unchecked, in two thirds of the time.
"""

import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import update_wrapper, wraps
from itertools import islice
from threading import local
from types import CellType, CodeType, FunctionType
from typing import Any, Final, Literal, get_args, get_origin

import jaxtyping

Function = Callable[..., Any]
strictly: Final = jaxtyping.jaxtyped
"""What checks at every call, which takes a third of the time of a test."""
CHECKS: Final[dict[CodeType, "Check"]] = {}
"""A function inside another is made anew at each call of that, from the same code."""
FIRST: Final = 64
"""Items of a long container and letters of a long text that count; beartype looks at one item."""


class Computing(local):
    """In each thread, what gives the result of the call that is being checked, until it is called itself."""

    def __init__(self) -> None:
        self.waiting: list[Function] = []


COMPUTING: Final = Computing()


class Check:
    """What was asked of a function and found right, and the means to check what was not."""

    def __init__(self, function: FunctionType) -> None:
        self.function = emptied(function)
        self.worded = any(isinstance(hint, str) or "Literal" in str(hint) for hint in function.__annotations__.values())
        """Whether it counts which text an argument is."""
        self.right: dict[object, set[object]] = {}
        """The forms of the results seen, by the form of the arguments."""
        self.strict: Function | None = None
        """Made at the first call, because a process calls few of the functions that it imports."""

    def __call__(self, computing: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Check the arguments, then compute the result, then check that."""
        from beartype import beartype

        if self.strict is None:
            signature = FunctionType(_computed.__code__, {**self.function.__globals__, "COMPUTING": COMPUTING})
            self.strict = strictly(wraps(self.function)(signature), typechecker=beartype)
        depth = len(COMPUTING.waiting)
        COMPUTING.waiting.append(computing)
        try:
            return self.strict(*args, **kwargs)
        finally:
            # Still there where the arguments were refused.
            del COMPUTING.waiting[depth:]


def emptied(function: FunctionType) -> FunctionType:
    """Return a function of the same signature without what the other one closes over, which would stay alive."""
    cells = tuple(CellType() for _ in function.__code__.co_freevars)
    like = FunctionType(function.__code__, function.__globals__, None, function.__defaults__, cells)
    like.__kwdefaults__ = function.__kwdefaults__
    update_wrapper(like, function)
    del vars(like)["__wrapped__"]
    return like


def _computed(*args: Any, **kwargs: Any) -> Any:
    return COMPUTING.waiting.pop()(*args, **kwargs)


def jaxtyped(**_: object) -> Callable[[Any], Any]:
    """Stand for `jaxtyping.jaxtyped` as the hook uses it: a decorator of functions and classes."""
    return once


def once(checked: Any) -> Any:
    """Return a function, or a dataclass, that checks each form of a call once."""
    if inspect.isclass(checked):
        made: Any = checked
        if is_dataclass(checked) and "__init__" in vars(checked):
            made.__init__ = once(made.__init__)
        return made
    if not any(map(is_seen, checked.__annotations__.values())):
        return checked
    check = CHECKS.get(checked.__code__) or CHECKS.setdefault(checked.__code__, Check(checked))
    right, worded = check.right, check.worded

    @wraps(checked)
    def called(*args: Any, **kwargs: Any) -> Any:
        if jaxtyping.config.jaxtyping_disable:
            return checked(*args, **kwargs)
        asked = forms(args, worded), (tuple(kwargs), forms(kwargs.values(), worded)) if kwargs else None
        answers = right.get(asked)
        if answers is None:
            result = check(checked, args, kwargs)
            right[asked] = {form(result, worded)}
            return result
        result = checked(*args, **kwargs)
        answer = form(result, worded)
        if answer not in answers:
            check(lambda *_, **__: result, args, kwargs)
            answers.add(answer)
        return result

    return called


def is_seen(hint: Any) -> bool:
    """Return whether an annotation names a shape or a text, or holds one that does."""
    if get_origin(hint) is Literal or (isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray)):
        return True
    return any(map(is_seen, hint if isinstance(hint, list) else get_args(hint)))


def form(value: Any, worded: bool) -> object:
    """Return what an annotation can see of a value, which two values have in common if they are checked alike."""
    kind = type(value)
    if kind in ARRAYS:
        return kind, value.shape, value.dtype
    if kind in OTHERS:
        return kind
    if kind is str:
        return value[:FIRST] if worded else kind
    if issubclass(kind, (tuple, list, set, frozenset)):
        return kind, forms(value, worded)
    if issubclass(kind, dict):
        return kind, forms(value, worded), forms(value.values(), worded)
    (ARRAYS if hasattr(kind, "shape") and hasattr(kind, "dtype") else OTHERS).add(kind)
    return form(value, worded)


def forms(values: Collection[Any], worded: bool) -> tuple[object, ...]:
    """Return the form of each value; what is met most often is seen at once, for this is half of what a check takes."""
    return tuple(
        [
            (kind, value.shape, value.dtype)
            if (kind := type(value)) in ARRAYS
            else kind
            if kind in OTHERS
            else form(value, worded)
            for value in (values if len(values) <= FIRST else islice(values, FIRST))
        ]
    )


ARRAYS: Final[set[type]] = set()
OTHERS: Final[set[type]] = {int, float, bool, type(None)}
"""Classes whose values have a shape and a number type, and classes of which an annotation sees no more than themselves:
as they are met."""


@contextmanager
def unchecked() -> Iterator[None]:
    """Check no shapes inside."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)
