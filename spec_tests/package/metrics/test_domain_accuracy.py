"""An accuracy comes with how many examples it is of, an interval that holds the truth, and what chance gives.

Every test names the mistake that was put into the program by hand and that it caught.
"""

import math

import pytest

from atlas_ref.metrics.domain_accuracy import Tally, accuracy, wilson


@pytest.mark.parametrize(
    ("total", "n", "low", "high"),
    [
        (1, 10, 0.01787621, 0.40415002),
        (81, 263, 0.25529, 0.36621),
        (0, 20, 0.0, 0.16112516),
        (20, 20, 0.83887484, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_the_interval_of_a_share_is_wilsons(total: int, n: int, low: float, high: float) -> None:
    """Kills: the normal interval, which is empty at 0; z of one side. 81 of 263 is printed in Newcombe (1998)."""
    assert wilson(total, n) == pytest.approx((low, high), abs=5e-6)


@pytest.mark.parametrize(("total", "n"), [(3, 7), (5.5, 12), (99, 100)])
def test_the_ends_are_where_the_share_lies_as_many_deviations_away(total: float, n: int) -> None:
    """The definition: both ends e solve |p - e| = z sqrt(e (1 - e) / n)."""
    for end in wilson(total, n, z=1.7):
        assert abs(total / n - end) == pytest.approx(1.7 * math.sqrt(end * (1 - end) / n), rel=1e-12)


@pytest.mark.parametrize("total", [-0.1, 3.1, math.nan])
def test_a_total_that_is_none_is_refused(total: float) -> None:
    with pytest.raises(ValueError, match="it must be from 0 to 3"):
        wilson(total, 3)


def tallied(*scores: float, choices: int = 0) -> Tally:
    tally = Tally()
    for score in scores:
        tally = tally.plus(score, choices)
    return tally


def test_sets_count_alike_in_a_domain_and_examples_alike_in_a_set() -> None:
    """Kills: one average over all examples, which the largest set decides."""
    small, large = tallied(1, 0), tallied(*[1.0] * 90, *[0.0] * 10)
    found = accuracy({"small": small, "large": large, "absent": Tally()})
    assert found is not None
    assert found.value == pytest.approx((0.5 + 0.9) / 2)
    assert found.n == 102


def test_the_interval_of_one_set_is_its_own_and_that_of_two_is_joined() -> None:
    """Kills: ends averaged, which is too wide; the interval of all examples pooled."""
    one, other = tallied(*[1.0] * 3, *[0.0] * 7), tallied(*[1.0] * 12, *[0.0] * 3)
    alone = accuracy({"one": one})
    assert alone is not None
    assert (alone.low, alone.high) == pytest.approx(wilson(3, 10))
    both = accuracy({"one": one, "other": other})
    assert both is not None
    (low, high), (below, above) = wilson(3, 10), wilson(12, 15)
    assert both.low == pytest.approx(0.55 - math.sqrt((0.3 - low) ** 2 + (0.8 - below) ** 2) / 2)
    assert both.high == pytest.approx(0.55 + math.sqrt((high - 0.3) ** 2 + (above - 0.8) ** 2) / 2)


def test_chance_is_one_in_the_choices_of_each_example() -> None:
    """Kills: chance of the first example for all; chance of written answers."""
    mixed = tallied(1, choices=4).plus(0, choices=4).plus(1, choices=5).plus(1, choices=3)
    found, written = accuracy({"a": mixed, "b": tallied(1, choices=2)}), accuracy({"a": tallied(1, 0)})
    assert found is not None
    assert written is not None
    assert found.chance == pytest.approx(((0.25 + 0.25 + 0.2 + 1 / 3) / 4 + 0.5) / 2)
    assert written.chance == 0.0


def test_nothing_has_no_accuracy_and_no_score_is_beyond_its_range() -> None:
    assert accuracy({}) is None
    assert accuracy({"a": Tally()}) is None
    for score in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="it must be from 0 to 1"):
            Tally().plus(score)
