"""How often a model is right in a domain, with an interval and what chance would give.

A set is averaged over its examples, a domain over its sets: the accuracy of a domain with sets s is

    p = mean_s p_s,    p_s = sum of scores / n_s

    interval of a set       (p_s + z^2 / 2n  -+  z sqrt(p_s (1 - p_s) / n + z^2 / 4n^2)) / (1 + z^2 / n)
    interval of a domain    p - sqrt(sum (p_s - low_s)^2) / S    to    p + sqrt(sum (high_s - p_s)^2) / S

(Wilson, 1927; Zou and Donner, 2008, who join the intervals of independent shares), so that of a single set is Wilson's.
Scores between 0 and 1 (F1 of words) vary less than hits of the same mean, so the interval is wide enough for them too.
It presumes that examples do not depend on each other; next tokens of one text do.
"""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

Z95: Final = 1.959963984540054
"""Standard deviations of a normal distribution within which 95% of it lie."""


class Tally(NamedTuple):
    """What was counted of one set; add up with `plus`."""

    total: float = 0.0
    """Sum of scores from 0 to 1."""
    n: int = 0
    chance: float = 0.0
    """Sum over the examples of what guessing would give: 1 / number of choices, 0 where the answer is written."""

    def plus(self, score: float, choices: int = 0) -> "Tally":
        """Return the tally with one example more; ValueError for a score that is none."""
        if not 0.0 <= score <= 1.0:
            raise ValueError(f"a score is {score}; it must be from 0 to 1")
        return Tally(self.total + score, self.n + 1, self.chance + (1.0 / choices if choices else 0.0))


class Accuracy(NamedTuple):
    """A share from 0 to 1, of how many examples, its 95% interval, and what chance gives."""

    value: float
    n: int
    low: float
    high: float
    chance: float


def wilson(total: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Return the interval of a share of `total` in `n`; of nothing it is all there is, (0, 1).

    Raises ValueError for a total that is not from 0 to n.
    """
    if not 0.0 <= total <= n:
        raise ValueError(f"the total is {total}; it must be from 0 to {n}")
    if not n:
        return 0.0, 1.0
    share, square = total / n, z * z / n
    middle, reach = share + square / 2.0, z * math.sqrt(share * (1.0 - share) / n + square / (4.0 * n))
    # At its ends the interval touches them exactly, which rounding would miss.
    low = 0.0 if total == 0.0 else (middle - reach) / (1.0 + square)
    high = 1.0 if total == n else (middle + reach) / (1.0 + square)
    return low, high


def accuracy(tallies: Mapping[str, Tally]) -> Accuracy | None:
    """Return the accuracy of a domain from the tallies of its sets, or of a set from its own.

    Sets without examples do not count; None where none has any.
    """
    counted = [tally for tally in tallies.values() if tally.n]
    if not counted:
        return None
    sets = len(counted)
    shares = [tally.total / tally.n for tally in counted]
    ends = [wilson(tally.total, tally.n) for tally in counted]
    value = math.fsum(shares) / sets
    below = math.hypot(*(share - low for share, (low, _) in zip(shares, ends, strict=True)))
    above = math.hypot(*(high - share for share, (_, high) in zip(shares, ends, strict=True)))
    chance = math.fsum(tally.chance / tally.n for tally in counted) / sets
    return Accuracy(value, sum(tally.n for tally in counted), value - below / sets, value + above / sets, chance)
