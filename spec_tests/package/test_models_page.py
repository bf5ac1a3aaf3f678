"""The page on published models is what its command writes today, and its rules are those of the table that is proved.

Every test names the fault that was put into the program by hand and that it caught.
"""

import re
from dataclasses import replace

import pytest

from atlas_ref.config import model_names
from atlas_ref.memory.rules import MemoryRule
from spec_tests.package.house import ROOT
from spec_tests.package.memory.models_page import RECURRENCES, SOLVED, Errors, errors, page, printed_rule, table_row
from spec_tests.package.memory.named_models import MODELS
from spec_tests.package.memory.named_runs import Apart, rule_of

PAGE = ROOT / "docs" / "models.md"
ERROR = r"\d+e[-+]\d+, \d+e[-+]\d+"
"""Reads and gradients: rounding, which is another on another machine."""
ALLOWED = 1e-10

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the page is in the source tree")


def test_the_page_is_what_its_command_writes_but_for_the_digits_of_rounding() -> None:
    """Kills: a preset changed, added or renamed after `python -m benchmarks.models` was last run."""
    shown, some = PAGE.read_text(encoding="utf-8"), Apart(0.0, {"k": 0.0})
    written = page({name: Errors(None if name == SOLVED else some, some) for name in model_names()})
    assert re.sub(ERROR, "", shown) == re.sub(ERROR, "", written)
    found = re.findall(ERROR, shown)
    assert len(found) == 2 * len(model_names()) - 1
    assert all(float(error) <= ALLOWED for pair in found for error in pair.split(", "))


def test_every_published_recurrence_is_a_preset() -> None:
    """Kills: a recurrence that is proved and that nobody can train."""
    assert {RECURRENCES.get(name, name) for name in model_names()} == {*MODELS, SOLVED}


@pytest.mark.parametrize("name", [name for name in model_names() if name != SOLVED])
def test_the_rule_of_a_preset_is_the_one_that_is_proved_but_for_sizes(name: str) -> None:
    """Kills: a preset with another bias, link, axis of gates, place of the error or algorithm than its recurrence."""
    ours, theirs = printed_rule(name), rule_of(table_row(name))
    assert axes(ours) == axes(theirs)


def axes(rule: MemoryRule) -> MemoryRule:
    """Return a rule without what is a size, and an implicit step as what it always is: at the retained memory."""
    at = "retained" if rule.algorithm == "implicit" else rule.error_at
    return replace(rule, momentum_max=0.0, link=replace(rule.link, scale=1.0), error_at=at)


@pytest.mark.parametrize("name", ["kda", "yaad", pytest.param("mamba2", marks=pytest.mark.exhaustive)])
def test_the_rule_of_a_preset_computes_its_published_recurrence(name: str) -> None:
    """Kills: a preset whose smoothing, exponent or scale is not the one that is compared."""
    found = errors(name)
    for side in found:
        assert side is not None
        assert all(error <= ALLOWED for error in (side.reads, *side.gradients.values()))
