"""Why a configuration does not pass, and what does: with gates that look at the configuration alone.

Every test names the fault that was put into the program by hand and that it caught.
"""

from pathlib import Path

import pytest

from atlas_ref.config import RunConfig
from atlas_ref.config.changes import leaves
from preflight.explanation import MOST_TOGETHER, Explanation, explain, one_line
from preflight.gates import Gate, gates_of
from preflight.result import GateResult, at_least, conclude
from preflight.subject import HEALTHY, Budget, Subject
from spec_tests.package.micro.command import Atlas
from spec_tests.preflight.examined import short_config

WANTED = {"model.memory.gates.retention_init": 0.995, "optim.learning_rate": 0.02}
"""What the gates here ask for, and how the check of each is called."""
NAMES = {
    "model.memory.gates.retention_init": "memory outlasts attention",
    "optim.learning_rate": "weights can move far enough",
}
LOW = ("model.memory.gates.retention_init=0.9", "optim.learning_rate=0.01", "optim.min_learning_rate=0.001")

pytestmark = pytest.mark.usefixtures("cache")


class Asked:
    """A gate for each wanted field, and what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.0, factor: float = 1.0) -> None:
        self.seen: list[tuple[str, dict[str, object]]] = []
        self.seconds, self.factor = seconds, factor
        monkeypatch.setattr("preflight.gates.GATES", {field: self._gate(field) for field in WANTED})

    def _gate(self, field: str) -> Gate:
        def gate(config: RunConfig, subject: Subject, seed: int, budget: Budget) -> GateResult:
            found = dict(leaves(config.model_dump()))
            self.seen.append((field, found))
            value = float(found[field]) / WANTED[field]
            half_life = 200.0 * value * self.factor if "retention" in field else value * self.factor
            wanted = 200.0 if "retention" in field else 1.0
            return conclude(field, [at_least(NAMES[field], half_life, wanted, "so")], {}, self.seconds)

        return gate

    def results(self, config: RunConfig) -> list[GateResult]:
        return [gate(config, HEALTHY, 0, Budget(1, 2, 64, 2)) for gate in gates_of(config).values()]


def explained(asked: Asked, *overrides: str, seconds: float = 100.0) -> Explanation:
    config = short_config(*overrides)
    results = asked.results(config)
    asked.seen.clear()
    return explain(config, results, HEALTHY, seconds)


def test_one_change_is_tried_before_two_and_only_gates_that_failed_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: all changes at once; gates that passed asked again; the last change for the first that passes."""
    asked = Asked(monkeypatch)
    found = explained(asked, LOW[0], "optim.learning_rate=0.02")
    assert [(blame.gate, blame.field) for blame in found.blames] == [("model.memory.gates.retention_init",) * 2]
    assert found.passing is not None
    assert [each.partition("=")[0] for each in found.passing] == ["model.memory.gates.retention_init"]
    assert found.tried == 1
    assert {field for field, _ in asked.seen} == {"model.memory.gates.retention_init"}


def test_what_needs_two_changes_gets_both_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a search that ends with single changes; a third field that the nearest configuration differs in."""
    asked = Asked(monkeypatch)
    found = explained(asked, *LOW)
    assert found.passing is not None
    fields = {each.partition("=")[0] for each in found.passing}
    assert fields == {*WANTED, "optim.min_learning_rate"}
    before = dict(leaves(short_config(*LOW).model_dump()))
    after = dict(leaves(short_config(*LOW, *found.passing).model_dump()))
    assert {name for name in before if before[name] != after[name]} == fields


def test_where_nothing_passes_that_is_said_and_the_search_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a last change that is told although it fails; a search without an end."""
    found = explained(Asked(monkeypatch, factor=1e-6), *LOW)
    assert found.passing is None
    assert 0 < found.tried < 2 ** (2 * MOST_TOGETHER)


def test_no_try_begins_that_may_not_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a budget that is looked at after it is spent."""
    asked = Asked(monkeypatch, seconds=60.0)
    assert explained(asked, *LOW, seconds=100.0)[1:] == (None, 0)
    assert asked.seen == []


def test_the_command_line_says_what_is_to_blame_and_what_passes(
    monkeypatch: pytest.MonkeyPatch, atlas: Atlas, tmp_path: Path
) -> None:
    """Kills: an explanation without its check or number; one that ends with exit code 0; train without its line."""
    from atlas_ref.config import to_toml

    Asked(monkeypatch)
    path = tmp_path / "low.toml"
    path.write_text(to_toml(short_config(LOW[0], "optim.learning_rate=0.02")))
    ended = atlas("preflight", "--config", path, "--explain")
    assert ended.code == 3
    blamed, passing = ended.out.splitlines()[-2:]
    assert "memory outlasts attention" in blamed
    assert blamed.endswith("most likely model.memory.gates.retention_init")
    assert passing.startswith("passes with --set model.memory.gates.retention_init=0.99")
    change = passing.split()[3]
    assert atlas("preflight", "--config", path, "--set", change, "--explain").out.endswith("every gate passed\n")
    refused = atlas("train", "--config", path, "--out", tmp_path / "run")
    assert refused.code == 3
    line = "most likely model.memory.gates.retention_init (memory outlasts attention: 181 against 200); try --set"
    assert f"{line} {change}" in refused.err
    quiet = atlas("preflight", "--config", path, "--explain", "--json")
    assert quiet.out.startswith("{")
    assert "passes with" in quiet.err


def test_a_check_that_nothing_is_known_of_blames_nothing() -> None:
    """Kills: a field that is blamed at random."""
    config = short_config("model.disable_memory=false")
    failed = conclude("gate", [at_least("small parameters move as meant", 0.5, 1.0, "so")], {}, 0.0)
    assert one_line(config, [failed]) is None
    (blame,) = explain(config, [failed], HEALTHY).blames
    assert (blame.field, blame.change) == (None, ())
