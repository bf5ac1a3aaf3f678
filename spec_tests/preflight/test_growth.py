"""A growth is judged by as many batches as it takes, up to a bound, with the doubt of one interval in all."""

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.models.family import Model
from atlas_ref.tasks.registry import task_of
from preflight.heard import Arms
from preflight.rehearsal import CHANCES, GROWS, growths, rehearsal_checks
from preflight.result import Verdict
from preflight.statistics import mean_interval
from preflight.subject import HEALTHY
from spec_tests.preflight.micro import REHEARSAL as BUDGET
from spec_tests.preflight.micro import short_run


@pytest.mark.parametrize(
    ("before", "found", "growth", "verdict"),
    [
        ([1.0, 1.1], [2.6, 2.86, 2.6, 2.86], 2.6, Verdict.PASS),
        ([1.0, 1.1], [2.6, 2.7, 2.6, 3.02], 2.6, Verdict.INCONCLUSIVE),
        ([1.0, 1.1], [5.2, 6.0, 5.2, 6.0], 5.6 / 1.05, Verdict.PASS),
        # 2.5 times what each batch had in the middle is far below what it has now, whichever had three times another.
        ([1.0, 3.0], [40.0] * 4, 20.0, Verdict.PASS),
    ],
)
def test_growth_is_a_ratio_of_means_whose_spread_is_over_the_same_batches(
    monkeypatch: pytest.MonkeyPatch, before: list[float], found: list[float], growth: float, verdict: Verdict
) -> None:
    """Kills: a verdict without an interval; a mean of ratios; batches that differ for ever taken for doubt; the spread
    of a ratio of what was found, by which the last of these is in doubt.
    """
    looked = [0.001 * nats for nats in (*before * 4, *found)]
    monkeypatch.setattr("preflight.rehearsal.follows", lambda *_: looked.pop(0))
    monkeypatch.setattr("preflight.rehearsal._looks", lambda _: (2, 3, 8))
    monkeypatch.setattr("preflight.rehearsal.DOUBLINGS", 0)
    (check,) = rehearsal_checks(short_run(), HEALTHY, 0, BUDGET)
    assert check.statistic == pytest.approx(growth)
    assert check.verdict is verdict


def test_a_growth_at_the_threshold_is_excluded_as_seldom_as_the_confidence_says() -> None:
    """Kills: residuals in another unit; what both times have in common left in; the spread that a ratio has elsewhere.

    Both sides of an interval of 99% together exclude it once in a hundred draws: 20 of 2,000, give or take 4.4.
    """
    random = np.random.default_rng(0)
    base = random.normal(0.003, 0.004, (2000, 24))
    base += np.maximum(0.0, 0.001 - base.mean(1))[:, None]
    later = GROWS * base + random.normal(0.0, 0.002, base.shape)
    intervals = [mean_interval(growths(was, now)) for was, now in zip(base, later, strict=True)]
    assert 7 <= sum(not each.low <= GROWS <= each.high for each in intervals) <= 33
    ratios = later.mean(1) / base.mean(1)
    assert [np.mean(growths(was, now)) for was, now in zip(base, later, strict=True)] == pytest.approx(ratios)


@pytest.mark.parametrize(
    ("end", "batches", "verdict"),
    [
        # Growth of the mean of a thousandth of a nat, batch by batch.
        ([2.75, 2.85] * 8, 4, Verdict.PASS),
        ([1.75, 1.85] * 8, 4, Verdict.FAIL),
        ([3.75, 2.75] * 2 + [3.65, 3.85] * 6, 8, Verdict.PASS),
        ([2.95, 1.25] * 2 + [1.35, 1.15] * 6, 16, Verdict.FAIL),
        ([3.15, 2.65] * 2 + [2.95, 2.45] * 2 + [2.95, 3.05] * 4, 16, Verdict.PASS),
        ([2.95, 2.15] * 8, 16, Verdict.INCONCLUSIVE),
    ],
)
def test_more_batches_are_asked_where_a_growth_is_in_doubt_and_no_more_than_that(
    monkeypatch: pytest.MonkeyPatch, end: list[float], batches: int, verdict: Verdict
) -> None:
    """Kills: a doubt that is left as it is; batches without end; a verdict that is asked again; the same rows twice;
    rows that are trained on; the network of the end in the place of that of the middle.
    """
    shown, networks = [1.0] * 8 + end[:4] + [1.0] * 4 + end[4:8] + [1.0] * 8 + end[8:], list[Tensor]()
    rows = list[Tensor]()

    def asked(model: Model, arms_of: Arms) -> float:
        rows.append(arms_of.whole.tokens)
        networks.append(next(model.parameters()).detach().clone())
        return 0.001 * shown[len(rows) - 1]

    monkeypatch.setattr("preflight.rehearsal.follows", asked)
    (check,) = rehearsal_checks(short_run(), HEALTHY, 0, BUDGET)
    assert (check.verdict, f"({batches} batches)" in check.sentence) == (verdict, True)
    source = task_of(short_run().data).source(short_run(), None)
    for number, first, length in ((4, 12, 4), (8, 20, 8)):
        if batches > number:
            for place in range(length):
                middle, last = first + place, first + length + place
                assert torch.equal(rows[middle], source.batch(10 + number + place).tokens)
                assert torch.equal(rows[last], rows[middle])
                assert torch.equal(networks[middle], networks[0])
                assert torch.equal(networks[last], networks[8])
    assert len(rows) == {4: 12, 8: 20, 16: 36}[batches]


def test_a_rehearsal_has_as_much_doubt_as_one_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a hundredth of doubt at each of five times; a share of the confidence in place of one of the doubt."""
    looked = [0.001] * 8 + [0.002] * 4
    monkeypatch.setattr("preflight.rehearsal.follows", lambda *_: looked.pop(0))
    (check,) = rehearsal_checks(short_run(), HEALTHY, 0, BUDGET)
    assert check.interval is not None
    assert CHANCES == 5
    assert check.interval.confidence == pytest.approx(1.0 - 0.01 / 5)
