"""Confidence intervals of means, by Student's t distribution (`atlas_ref.metrics.student`).

The samples of a gate are batches or rows, drawn independently: their mean is close to normal, their spread is not
known, and they are few. Paired versions take the difference of each pair first, which removes what a pair has in
common (the same data, the same parameters).
"""

import math
from collections.abc import Sequence

import numpy as np

from atlas_ref.metrics.student import student_quantile
from preflight.result import Interval

CONFIDENCE = 0.99
"""Of every interval of every gate, unless it says otherwise: one wrong exclusion in a hundred, both sides together."""


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
