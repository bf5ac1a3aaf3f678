"""The columns of a log, and what a chart needs of them: a few hundred buckets, however many lines there are.

Bucket i holds the lines i s .. (i + 1) s - 1 of a column, with the stride s a power of two, so that a longer log
changes its last buckets only until the stride doubles: whoever has the first n lines needs the buckets from n // s on.
"""

from array import array
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_BUCKETS = 400
"""Buckets of a column: no chart has more pixels to tell them apart."""
DIGITS = 7
"""Significant digits that a chart is given."""
POWERS = np.array([float(f"1e{power}") for power in range(301)])
"""Of ten, each the nearest that there is."""

Numbers = list[float | None]
Column64 = NDArray[np.float64]


class Column:
    """One metric: steps and values, line by line, and the range over layers where it stands for several."""

    def __init__(self) -> None:
        self.steps, self._values, self._low, self._high = array("q"), array("d"), array("d"), array("d")

    def extend(self, steps: NDArray[np.int64], values: Column64, low: Column64, high: Column64) -> None:
        """Append lines; NaN stands for a value that was not finite."""
        self.steps.frombytes(steps.tobytes())
        for column, new in ((self._values, values), (self._low, low), (self._high, high)):
            column.frombytes(new.tobytes())

    @property
    def last(self) -> float | None:
        """The value of the last line."""
        return _spelt(self._values[-1:])[0] if self._values else None

    def thinned(self, known: int, most: int = MOST_BUCKETS) -> "Thinned":
        """Return the buckets that are new to whoever has the first `known` lines of the column."""
        stride = stride_of(len(self.steps), most)
        first = known // stride if 0 < known <= len(self.steps) and stride == stride_of(known, most) else 0
        begins = np.arange(first * stride, len(self.steps), stride)
        if not len(begins):
            return Thinned(len(self.steps), stride, first, [], [], [], [])
        at = begins - begins[0]
        values, low, high = (np.array(each[begins[0] :]) for each in (self._values, self._low, self._high))
        ends = np.minimum(begins + stride, len(self.steps))
        with np.errstate(over="ignore", invalid="ignore"):
            # A value that was not finite stays a gap in the line, and does not hide the range beside it.
            means = np.add.reduceat(values, at) / (ends - begins)
        steps = [self.steps[end - 1] for end in ends]
        ranges = (np.fmin.reduceat(low, at), np.fmax.reduceat(high, at))
        return Thinned(len(self.steps), stride, first, steps, _spelt(means), *map(_spelt, ranges))


class Thinned(NamedTuple):
    """Buckets of a column from number `first` on: last step, mean, least and largest value; None where none is finite.

    `lines` is how many lines the column has, `stride` how many of them a bucket holds.
    """

    lines: int
    stride: int
    first: int
    steps: list[int]
    mean: Numbers
    low: Numbers
    high: Numbers


def stride_of(lines: int, most: int) -> int:
    """Return the least power of two for which so many lines have at most `most` buckets."""
    return int(1 << (max(1, -(-lines // most)) - 1).bit_length())


def _spelt(values: "Column64 | array[float]") -> Numbers:
    """Return numbers as JSON has them, with DIGITS significant digits; all at once, as to format each is slow."""
    numbers = np.array(values, dtype=np.float64)
    finite = np.isfinite(numbers) & (numbers != 0.0)
    size = np.log10(np.abs(numbers), out=np.zeros_like(numbers), where=finite)
    place = np.clip(DIGITS - 1 - np.floor(size), 1 - len(POWERS), len(POWERS) - 1).astype(np.int64)
    shift = POWERS[np.abs(place)]
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = np.where(place < 0, np.round(numbers / shift) * shift, np.round(numbers * shift) / shift)
    return [value if here else None for value, here in zip(rounded.tolist(), np.isfinite(numbers), strict=True)]
