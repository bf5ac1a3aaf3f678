"""Intervals against printed tables, closed forms, and coverage counted on random samples."""

import math

import numpy as np
import pytest

from preflight.statistics import mean_interval, paired_differences, paired_interval, student_quantile, student_within


@pytest.mark.parametrize(
    ("confidence", "degrees", "expected"),
    [
        (0.99, 1, 63.6567),
        (0.99, 2, 9.9248),
        (0.99, 3, 5.8409),
        (0.99, 9, 3.2498),
        (0.95, 4, 2.7764),
        (0.95, 30, 2.0423),
        (0.90, 120, 1.6577),
        (0.99, 1000, 2.5808),
    ],
)
def test_the_quantile_is_the_one_in_printed_tables(confidence: float, degrees: int, expected: float) -> None:
    assert student_quantile(confidence, degrees) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 12])
@pytest.mark.parametrize("t", [0.1, 0.9, 2.5, 8.0])
def test_the_probability_is_the_integral_of_the_density(degrees: int, t: float) -> None:
    x = np.linspace(0.0, t, 20_001)
    density = (1.0 + x**2 / degrees) ** (-0.5 * (degrees + 1))
    log_scale = math.lgamma(0.5 * (degrees + 1)) - math.lgamma(0.5 * degrees)
    expected = 2.0 * np.trapezoid(density, x) * math.exp(log_scale) / math.sqrt(degrees * math.pi)
    assert student_within(t, degrees) == pytest.approx(expected, abs=1e-8)


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
