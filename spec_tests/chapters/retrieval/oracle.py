"""docs/spec/retrieval.md in numpy: answer by answer, row by row."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op


def interval(rows: Sequence[Sequence[float]]) -> Array:
    """Return the mean over the answers of all rows, and the ends of its interval; NaN where there is none."""
    count = sum(len(row) for row in rows)
    if count == 0:
        return np.full(3, np.nan)
    mean = sum(sum(row) for row in rows) / count
    squares = sum((sum(row) - mean * len(row)) ** 2 for row in rows)
    half = 1.96 * np.sqrt(squares * len(rows) / (len(rows) - 1)) / count if len(rows) > 1 else np.nan
    return np.array([mean, mean - half, mean + half])


def answer(x: Arrays) -> dict[str, Array]:
    """Return accuracy with and without storage, and the gain, each with the ends of its interval."""
    found: dict[str, list[list[float]]] = {"stored": [], "skipped": [], "gain": []}
    for right, without, asked in zip(x["right"], x["without"], x["asked"], strict=True):
        pairs = [(float(r), float(w)) for r, w, a in zip(right, without, asked, strict=True) if a]
        found["stored"].append([r for r, _ in pairs])
        found["skipped"].append([w for _, w in pairs])
        found["gain"].append([r - w for r, w in pairs])
    return {name: interval(rows) for name, rows in found.items()}


def _gain(_: Config, x: Arrays, __: Sums) -> Arrays:
    return answer(x)


ANSWERS: Final[Mapping[Op, Function]] = {Op.RETRIEVAL_GAIN: _gain}
