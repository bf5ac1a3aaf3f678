"""The mean of some numbers and its 95% interval."""

import math

import pytest

from atlas_ref.metrics.mean_interval import Interval, mean_interval


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
