"""Whether the host may look at the numbers of a tensor.

A look waits for all that the device was given before, and a CUDA graph, which is recorded before anything has a value,
forbids it. Whoever asks a tensor a question that only saves work (is all of this finite? does any row begin here?) asks
`may_look` first, and where it may not takes the way that is right whatever the answer is. Whoever cannot go on without
the answer calls `must_look`. Nothing that is computed depends on it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from jaxtyping import Int
from torch import Tensor


class UnseenError(RuntimeError):
    """A call cannot be made without a look at the numbers of a tensor; `what` it would have looked for."""

    def __init__(self, what: str) -> None:
        super().__init__(f"unseen: {what} cannot be told without looking at the numbers of a tensor")


class Place(NamedTuple):
    """Where the rows of a call stand: each has read `at` tokens of a stretch of `length` tokens of its document, and no
    document begins inside a stretch."""

    at: int
    length: int

    def is_whole(self, *lengths: int) -> bool:
        """Return whether stretches are made of whole pieces of such lengths, 0 of any: then the place in these is known
        too."""
        return all(self.length % length == 0 for length in lengths if length)


BEGINNING = Place(0, 0)
"""A document begins with the call in every row, and none later: their place in stretches of any length is known."""


class _Eyes:
    """Of the whole process: the backward pass runs in threads of its own."""

    shut: bool = False
    place: Place | None = None


def may_look() -> bool:
    """Return whether the host may look at numbers; not within `unseen`."""
    return not _Eyes.shut


def must_look(what: str) -> None:
    """Raise UnseenError, which says what is looked for, where nothing may be looked at."""
    if not may_look():
        raise UnseenError(what)


def known_place() -> Place | None:
    """Return the place that whoever shut the eyes knows; None where none is known, or all may be looked at."""
    return _Eyes.place


def surely_at_least(least: int, position: Int[Tensor, "*tokens"]) -> bool:
    """Return whether it can be seen that no position is below `least`; not where nobody may look."""
    return may_look() and int(position.min() if position.numel() > 1 else position) >= least


@contextmanager
def unseen(place: Place | None = None) -> Iterator[None]:
    """Let nobody look at numbers until the context ends.

    `place` says where the rows of every call of several tokens within stand (`memory.layout`); None: nothing is known.
    """
    before = _Eyes.shut, _Eyes.place
    _Eyes.shut, _Eyes.place = True, place
    try:
        yield
    finally:
        _Eyes.shut, _Eyes.place = before
