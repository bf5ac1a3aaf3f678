"""Student's t distribution against printed tables and the integral of its density."""

import math

import numpy as np
import pytest

from atlas_ref.metrics.student import student_quantile, student_within


@pytest.mark.parametrize(
    ("values", "expected"),
    list(enumerate((12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201), 2)),
)
def test_the_points_of_few_values_are_those_in_printed_tables(values: int, expected: float) -> None:
    """Kills: as many degrees of freedom as there are values; the point of one side."""
    assert student_quantile(0.95, values - 1) == pytest.approx(expected, abs=5.1e-4)


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
