"""Verdicts follow from numbers, the worst one counts, and JSON keeps all of it."""

import math

import pytest
from pydantic import ValidationError

from preflight.result import Check, GateResult, Interval, Verdict, at_least, at_most, conclude, powered, worst


def interval(low: float, high: float) -> Interval:
    return Interval(low=low, high=high, confidence=0.99)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(1.0, 2.0, Verdict.PASS), (0.2, 0.9, Verdict.FAIL), (0.9, 1.1, Verdict.INCONCLUSIVE)],
)
def test_an_interval_decides_only_when_all_of_it_is_on_one_side(low: float, high: float, verdict: Verdict) -> None:
    mirrored = interval(-high, -low)
    assert at_least("x", 0.5 * (low + high), 1.0, "", interval(low, high)).verdict is verdict
    assert at_most("x", -0.5 * (low + high), -1.0, "", mirrored).verdict is verdict


def test_a_number_without_an_interval_passes_on_its_threshold_and_fails_beyond_it() -> None:
    assert at_least("x", 1.0, 1.0, "").verdict is Verdict.PASS
    assert at_most("x", 1.0, 1.0, "").verdict is Verdict.PASS
    assert at_least("x", math.nextafter(1.0, 0.0), 1.0, "").verdict is Verdict.FAIL
    assert at_most("x", math.nextafter(1.0, 2.0), 1.0, "").verdict is Verdict.FAIL


@pytest.mark.parametrize("bounds", [None, (math.nan, math.nan), (1.0, math.nan), (-math.inf, math.inf)])
def test_what_is_not_a_number_fails_on_either_side(bounds: tuple[float, float] | None) -> None:
    found = None if bounds is None else interval(*bounds)
    assert at_least("x", math.nan, 0.0, "", found).verdict is Verdict.FAIL
    assert at_most("x", math.nan, 0.0, "", found).verdict is Verdict.FAIL


def test_an_interval_of_too_few_samples_is_inconclusive() -> None:
    assert at_least("x", 5.0, 1.0, "", interval(-math.inf, math.inf)).verdict is Verdict.INCONCLUSIVE


def test_a_lack_of_power_is_never_a_failure_and_never_a_pass() -> None:
    assert powered("x", 2.0, 1.0, "").verdict is Verdict.PASS
    assert powered("x", 0.5, 1.0, "").verdict is Verdict.INCONCLUSIVE
    assert powered("x", 2.0, 1.0, "", interval(0.5, 3.0)).verdict is Verdict.INCONCLUSIVE
    assert powered("x", math.nan, 1.0, "").verdict is Verdict.INCONCLUSIVE


def checks(*verdicts: Verdict) -> list[Check]:
    """Return checks against 1 with these verdicts."""
    bounds = {Verdict.PASS: (1.0, 2.0), Verdict.FAIL: (0.2, 0.9), Verdict.INCONCLUSIVE: (0.9, 1.1)}
    made = [at_least("x", bounds[each][0], 1.0, "", interval(*bounds[each])) for each in verdicts]
    assert [check.verdict for check in made] == list(verdicts)
    return made


def test_the_worst_check_is_the_verdict_whatever_the_order() -> None:
    passing, unsure, failing = Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL
    assert worst(checks(passing, passing)) is passing
    assert worst(checks(unsure, passing)) is worst(checks(passing, unsure)) is unsure
    assert worst(checks(failing, unsure, passing)) is worst(checks(passing, unsure, failing)) is failing


def test_a_gate_that_checked_nothing_has_not_passed() -> None:
    assert conclude("g", [], {}, 0.0).verdict is Verdict.INCONCLUSIVE


def test_json_keeps_every_number_also_those_that_json_has_no_word_for() -> None:
    found = [
        at_least("a", 0.1 + 0.2, 1e-300, "one", interval(-math.inf, math.inf)),
        at_most("b", math.inf, 1.0, "two"),
    ]
    result = conclude("g", found, {"layers": [1, 2.5, "x", None]}, 1.25)
    assert GateResult.model_validate_json(result.model_dump_json()) == result


def test_json_keeps_what_is_not_a_number() -> None:
    text = conclude("g", [at_least("a", math.nan, 1.0, "")], {}, 0.0).model_dump_json()
    assert math.isnan(GateResult.model_validate_json(text).checks[0].statistic)


def test_a_verdict_that_its_checks_do_not_bear_out_is_refused() -> None:
    text = conclude("g", checks(Verdict.FAIL), {}, 0.0).model_dump_json()
    forged = text.replace('"verdict":"FAIL","checks"', '"verdict":"PASS","checks"')
    assert forged != text
    with pytest.raises(ValidationError, match="the verdict of g is PASS, but its checks say FAIL"):
        GateResult.model_validate_json(forged)
