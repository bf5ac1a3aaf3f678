"""The mean of some numbers with its 95% interval, as Student (1908) has it.

    m -+ t s / sqrt(n),    s^2 = sum (x_i - m)^2 / (n - 1),    t the 97.5% point for n - 1 degrees of freedom

It presumes that the numbers do not depend on each other: rows, or runs of several seeds, not tokens of one text.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from atlas_ref.metrics.student import student_quantile


class Interval(NamedTuple):
    """A mean and the ends of its interval; of a single number there is none, and the ends are infinite."""

    mean: float
    low: float
    high: float

    def touches(self, other: "Interval") -> bool:
        """Return whether the two have a number in common."""
        return self.low <= other.high and other.low <= self.high


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of the values with its interval; raise ValueError for no value."""
    if not values:
        raise ValueError("the mean of nothing")
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, -math.inf, math.inf)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    reach = student_quantile(0.95, n - 1) * spread / math.sqrt(n)
    return Interval(mean, mean - reach, mean + reach)
