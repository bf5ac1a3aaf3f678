"""Stored cases of retrieval: rows with unequal numbers of answers."""

from typing import Final

from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Op
from spec_tests.vectors.source import Family

_GAIN: Final = Family("RETR", Op.RETRIEVAL_GAIN)


def answers(seed: int, rows: int = 5, most: int = 7) -> dict[str, Array]:
    """Return answers of which some rows have few, right by rows, and marks beyond what is asked."""
    rng = generator(seed)
    luck = rng.random((rows, 1))
    asked = rng.integers(0, most, (rows, 1)) >= rng.permuted(range(most)) * (rng.random((rows, most)) < 0.8)
    asked[0, :2] = True
    right = rng.random((rows, most)) < 0.3 + 0.7 * luck
    marks = {"right": right, "without": rng.random((rows, most)) < 0.3, "asked": asked}
    return {name: x.astype("int64" if name == "asked" else "float64") for name, x in marks.items()}


STORED: Final = (
    _GAIN.case(1, "RETR-1 RETR-2 RETR-3", "five rows of up to seven answers", {}, answers(2530)),
    _GAIN.case(2, "RETR-3", "two rows", {}, answers(2531, 2, 4)),
    _GAIN.case(101, "RETR-1 RETR-3", "many rows of few answers", {}, answers(2532, 40, 2)),
)
