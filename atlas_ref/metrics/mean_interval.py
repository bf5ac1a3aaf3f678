"""The mean of some numbers with its 95% interval, as Student (1908) has it.

    m -+ t s / sqrt(n),    s^2 = sum (x_i - m)^2 / (n - 1),    t the 97.5% point for n - 1 degrees of freedom

It presumes that the numbers do not depend on each other: rows, or runs of several seeds, not tokens of one text.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from atlas_ref.metrics.domain_accuracy import Z95

T95: Final = (12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139)
"""t for 1 to 10 degrees of freedom."""


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
    reach = student(n - 1) * spread / math.sqrt(n)
    return Interval(mean, mean - reach, mean + reach)


def student(freedom: int) -> float:
    """Return t for some degrees of freedom; beyond the table by its expansion about the normal (Fisher, 1925)."""
    if freedom <= len(T95):
        return T95[freedom - 1]
    z, v = Z95, float(freedom)
    first = (z**3 + z) / 4.0
    second = (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0
    third = (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / 384.0
    return z + first / v + second / v**2 + third / v**3
