"""What a chart is given of a column: buckets that hold every line, and after them only those that are new."""

import math

import numpy as np
import pytest

from cli.dashboard.columns import Column, Thinned, stride_of


def column(values: list[float], reach: float = 0.25) -> Column:
    """Return a column of steps 3, 6, 9 ..., whose layers reach a little below and above."""
    made = Column()
    numbers = np.array(values)
    made.extend(3 * np.arange(1, len(values) + 1), numbers, numbers - reach, numbers + reach)
    return made


def by_hand(values: list[float], most: int) -> list[tuple[int, float, float, float]]:
    """Return last step, mean, least and largest value of each bucket, from lists."""
    stride = 1
    while math.ceil(len(values) / stride) > most:
        stride *= 2
    found = []
    for first in range(0, len(values), stride):
        part = values[first : first + stride]
        found.append((3 * (first + len(part)), math.fsum(part) / len(part), min(part) - 0.25, max(part) + 0.25))
    return found


def rows(found: Thinned) -> list[tuple[int, float | None, float | None, float | None]]:
    return list(zip(found.steps, found.mean, found.low, found.high, strict=True))


@pytest.mark.parametrize("lines", [1, 7, 8, 9, 100, 1023])
def test_a_bucket_has_the_mean_and_the_range_of_all_its_lines(lines: int) -> None:
    """Kills: every n-th line for all of them, which loses a spike; a last bucket that is divided by a whole stride."""
    values = [math.sin(0.7 * n) + (40.0 if n == lines // 3 else 0.0) for n in range(lines)]
    found = column(values).thinned(0, most=8)
    assert len(found.steps) <= 8
    for got, wanted in zip(rows(found), by_hand(values, 8), strict=True):
        assert got == pytest.approx(wanted, rel=1e-6)


def test_what_is_sent_bit_by_bit_is_what_is_sent_at_once() -> None:
    """Kills: a bucket that was half full and is not sent again; a doubled stride of which only the end is sent."""
    values = [math.cos(0.3 * n) for n in range(90)]
    kept: list[tuple[int, float | None, float | None, float | None]] = []
    known = 0
    for lines in (1, 2, 8, 9, 17, 31, 32, 33, 64, 70, 90):
        found = column(values[:lines]).thinned(known, most=8)
        kept[found.first :] = rows(found)
        assert kept == rows(column(values[:lines]).thinned(0, most=8))
        known = lines
    assert rows(column(values).thinned(90, most=8)) == rows(column(values).thinned(0, most=8))[90 // stride_of(90, 8) :]


def test_a_value_that_was_not_finite_is_a_gap_and_hides_no_other() -> None:
    """Kills: NaN as zero, and one that spreads to the range of its bucket."""
    made = Column()
    values = np.array([1.0, math.nan, 3.0, 5.0, math.nan, math.nan])
    made.extend(np.arange(1, 7), values, values, values)
    assert rows(made.thinned(0, most=3)) == [(2, None, 1.0, 1.0), (4, 4.0, 3.0, 5.0), (6, None, None, None)]
    assert made.last is None


def test_a_number_has_seven_significant_digits_whatever_its_size() -> None:
    """Kills: digits behind the point, which a learning rate has none of; a large loss that becomes infinite."""
    values = [2e-05, -0.00012345678, 0.46666666666, 5.2428812e8, 123456789.0, 0.0, 2.5e-12]
    made = column(values, reach=0.0)
    assert made.thinned(0).mean == [float(f"{value:.7g}") for value in values]
    (huge,) = column([-1.7e308], reach=0.0).thinned(0).mean
    assert huge == pytest.approx(-1.7e308)
