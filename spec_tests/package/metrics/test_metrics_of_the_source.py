"""The metrics of the source system: values worked out by hand, that move with their input, and their page."""

import re
from pathlib import Path

import pytest

from spec_tests.package.metrics.source_measures import CASES, NONE

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


@pytest.mark.parametrize("name", CASES)
def test_a_metric_has_its_value_for_one_input_and_another_for_another(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a metric that is a constant, another one's value, or in another unit."""
    key, measured, first, second = CASES[name]
    assert first != second
    assert measured(False, monkeypatch)[key] == pytest.approx(first, rel=1e-6, abs=1e-9)
    assert measured(True, monkeypatch)[key] == pytest.approx(second, rel=1e-6, abs=1e-9)


@pytest.mark.skipif(not PAGE.exists(), reason="the page is in the source tree")
def test_the_page_of_metrics_has_all_37_with_the_keys_that_are_measured() -> None:
    """Kills: a row that was forgotten, or names a key that nothing writes."""
    rows = re.findall(r"^\| `(\w+)` \| (?:`([^`]+)`|none) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == 37
    assert dict(rows) == {**{name: case.key for name, case in CASES.items()}, **dict.fromkeys(NONE, "")}
