"""Intervals against closed forms, and coverage counted on random samples."""

import math

import numpy as np
import pytest

from preflight.statistics import mean_interval, paired_differences, paired_interval


def test_the_interval_is_mean_and_t_standard_errors() -> None:
    found = mean_interval([1.0, 2.0, 4.0, 5.0], confidence=0.95)
    half = 3.18245 * math.sqrt(10.0 / 3.0) / 2.0
    assert (found.low, found.high) == pytest.approx((3.0 - half, 3.0 + half), abs=1e-4)
    assert found.confidence == 0.95


def test_the_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    samples = np.random.default_rng(0).normal(2.0, 3.0, size=(4000, 5))
    found = [mean_interval(list(row), confidence=0.9) for row in samples]
    covered = np.mean([interval.low <= 2.0 <= interval.high for interval in found])
    # 4000 draws have a standard error of 0.5%.
    assert 0.885 < covered < 0.915


@pytest.mark.parametrize("samples", [[], [3.0]])
def test_one_sample_says_nothing_about_its_spread(samples: list[float]) -> None:
    found = mean_interval(samples)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_pairs_cancel_what_they_have_in_common() -> None:
    common = np.random.default_rng(1).normal(0.0, 100.0, size=8)
    first, second = list(common + 1.0), list(common)
    found = paired_interval(first, second)
    assert (found.low, found.high) == pytest.approx((1.0, 1.0), abs=1e-9)
    assert mean_interval(first).high - mean_interval(first).low > 100.0


def test_pairs_must_be_pairs() -> None:
    with pytest.raises(ValueError, match="zip"):
        paired_differences([1.0, 2.0], [1.0])
