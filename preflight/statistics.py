"""Confidence intervals of means, by Student's t distribution, with nothing but numpy.

The samples of a gate are batches or rows, drawn independently: their mean is close to normal, their spread is not
known, and they are few. Paired versions take the difference of each pair first, which removes what a pair has in
common (the same data, the same parameters).
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from preflight.result import Interval

CONFIDENCE = 0.99
"""Of every interval of every gate, unless it says otherwise: one wrong exclusion in a hundred, both sides together."""


def student_within(t: float, degrees: int) -> float:
    """Return P(|T| <= t) for `degrees` of freedom, exactly: the finite series of Abramowitz and Stegun 26.7.3-4.

    With theta = atan(t / sqrt(n)): for odd n it is 2/pi (theta + sin cos (1 + 2/3 cos^2 + 2 4/(3 5) cos^4 + ...)),
    for even n sin (1 + 1/2 cos^2 + 1 3/(2 4) cos^4 + ...), both up to the power n - 2 of the cosine.
    """
    theta = math.atan2(t, math.sqrt(degrees))
    sine, square = math.sin(theta), math.cos(theta) ** 2
    odd = degrees % 2
    term = math.cos(theta) if odd else 1.0
    total = 0.0
    for power in range(odd, degrees - 1, 2):
        total += term
        term *= (power + 1) / (power + 2) * square
    if not odd:
        return sine * total
    return 2.0 / math.pi * (theta + sine * total)


@lru_cache(maxsize=256)
def student_quantile(confidence: float, degrees: int) -> float:
    """Return the t with P(|T| <= t) = `confidence`, by bisection on its angle."""
    low, high = 0.0, 0.5 * math.pi
    for _ in range(80):
        middle = 0.5 * (low + high)
        if student_within(math.tan(middle) * math.sqrt(degrees), degrees) < confidence:
            low = middle
        else:
            high = middle
    return math.tan(0.5 * (low + high)) * math.sqrt(degrees)


def mean_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Return mean +- t s / sqrt(n), s the standard deviation with n - 1; infinite for fewer than two samples."""
    values = np.asarray(samples, dtype=np.float64)
    if len(values) < 2:
        return Interval(low=-math.inf, high=math.inf, confidence=confidence)
    mean = float(values.mean())
    half = student_quantile(confidence, len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Interval(low=mean - half, high=mean + half, confidence=confidence)


def paired_differences(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Return first - second, pair by pair; ValueError unless there are as many of each."""
    return [a - b for a, b in zip(first, second, strict=True)]


def paired_interval(first: Sequence[float], second: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Return the interval of the mean of first - second over pairs."""
    return mean_interval(paired_differences(first, second), confidence)
