"""The mean of some numbers and its 95% interval."""

import math

import pytest

from atlas_ref.metrics.mean_interval import Interval, mean_interval, student


def covered(t: float, freedom: int, steps: int = 20_000) -> float:
    """Return the share of Student's distribution within -t and t, by Simpson's rule."""

    def density(x: float) -> float:
        scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
        return scale * math.exp(-(freedom + 1) / 2 * math.log1p(x * x / freedom))

    width = t / steps
    total = density(0.0) + density(t)
    total += sum((4 if i % 2 else 2) * density(i * width) for i in range(1, steps))
    return 2.0 * total * width / 3.0


@pytest.mark.parametrize("freedom", [1, 2, 3, 7, 10, 11, 40, 1000])
def test_ninety_five_percent_of_the_distribution_lie_within_its_points(freedom: int) -> None:
    """Kills: the point of another number of degrees; an expansion with a term left out."""
    assert covered(student(freedom), freedom) == pytest.approx(0.95, abs=2e-5)


def test_the_interval_is_that_of_the_mean() -> None:
    """Kills: n for n - 1 in the spread; the spread of the values for that of their mean."""
    mean, low, high = mean_interval([1.0, 2.0, 6.0])
    assert mean == 3.0
    assert high - mean == pytest.approx(4.302653 * math.sqrt(7.0 / 3.0), rel=1e-6)
    assert mean - low == pytest.approx(high - mean)
    assert mean_interval([2.0]) == (2.0, -math.inf, math.inf)
    with pytest.raises(ValueError, match="the mean of nothing"):
        mean_interval([])


def test_intervals_touch_where_they_have_a_number_in_common() -> None:
    """Kills: a comparison of means with the other's interval; one that depends on which comes first."""
    first, second, third = Interval(1.0, 0.0, 2.0), Interval(3.0, 2.0, 4.0), Interval(5.0, 4.5, 5.5)
    assert first.touches(second)
    assert second.touches(first)
    assert not second.touches(third)
    assert not third.touches(second)
    assert Interval(3.0, 0.0, 9.0).touches(third)
