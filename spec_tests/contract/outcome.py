"""What can become of a case, and where a port first went wrong.

A check signals its verdict by what it raises; `classify` reads it. An outcome is never guessed from a message.
"""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """The fate of one case: a closed list."""

    PASS = "pass"
    FAIL = "fail"
    ERROR = "error"
    UNSUPPORTED = "unsupported"
    UNDECLARED = "undeclared-unsupported"
    BLOCKED = "blocked-by"
    NOT_RUN = "not-run"


class FormError(AssertionError):
    """The answer is not in the form of the table: a missing array, another shape or type, an input changed in place."""


class PortError(AssertionError):
    """The port did not answer: it raised, crashed, hung, or said what is not of the protocol."""


class UndeclaredError(AssertionError):
    """The port declares the operation and then answers that it is unsupported."""


@dataclass(frozen=True)
class Divergence:
    """The first place where a port leaves the specification, in the order in which one array follows from another.

    `step` is the index along time (or optimiser steps), None where the array has no such axis. `index` is the worst
    element at that step. `upstream` names the arrays that still agree there. `hint` is the seeded fault whose error
    points most nearly the same way, with the cosine between the two; `likely` are the faults nearest to it with their
    cosines, None where none was sought.
    """

    tensor: str
    step: int | None
    index: tuple[int, ...]
    got: float
    expected: float
    error: float
    budget: float
    upstream: tuple[str, ...]
    hint: str | None
    similarity: float | None
    likely: tuple[tuple[str, float], ...] | None = None


class DivergenceError(AssertionError):
    """The port's numbers are not those of the specification."""

    def __init__(self, message: str, divergence: Divergence) -> None:
        super().__init__(message)
        self.divergence = divergence


def classify(error: BaseException) -> Outcome:
    """Return the outcome that a raised exception stands for; a skip is the caller's to see."""
    if isinstance(error, UndeclaredError):
        return Outcome.UNDECLARED
    if isinstance(error, FormError | PortError):
        return Outcome.ERROR
    return Outcome.FAIL if isinstance(error, AssertionError) else Outcome.ERROR
