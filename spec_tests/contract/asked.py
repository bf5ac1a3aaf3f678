"""What ports are asked: every question goes through `driver.ask`, which tells whoever listens, and what came back."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from spec_tests.port import Array, Op, Scalar


@dataclass(frozen=True)
class Question:
    """One answered question; `given` holds inputs and cotangents, `answer` outputs and gradients."""

    op: Op
    config: Mapping[str, Scalar]
    given: Mapping[str, Array]
    answer: Mapping[str, Array]


Listener = Callable[[Question], None]
_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell `listener` every question that this process asks in the meantime and that is answered in form."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def tell(question: Question) -> None:
    """Tell whoever listens."""
    for listener in _listeners:
        listener(question)
