"""The study of the gates: what it draws, what counts as learned, and how verdicts are counted against that."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gate_power import missing, read_lines
from benchmarks.gate_power_cases import GROUPS, Case, cases, covering
from benchmarks.gate_power_tables import binomial_interval, tables
from benchmarks.gate_power_verdicts import Judged, judge
from preflight.heard import LASTS, LEAST_KEPT, TRAVELS
from preflight.meaning import Share
from preflight.rehearsal import FOLLOWS
from preflight.result import Check, GateResult, at_least, conclude

LONG = ("train.max_steps=600",)
"""A run that no gate rehearses: it is judged by thresholds of what is kept, heard and moved."""
RECALL = Case("recall-00", "recall", "held out", "recall", (), LONG, ())
TEXT = Case("text-00", "text", "held out", "tiny", (), (), ())


def test_the_covering_is_drawn_from_its_seed_and_has_every_value_in_both_halves_of_a_group() -> None:
    """Kills: a value that no case has; halves that follow the groups; a draw that differs from run to run."""
    found = cases()
    assert [case for case in found if case.group == "mac"] == list(covering("mac", GROUPS["mac"], 0))
    assert len(found) == len({case.changes for case in found}) >= 60
    recall = [case for case in found if case.group == "recall"]
    values = {value for factor in GROUPS["recall"].factors.values() for value in factor}
    assert values == {value for case in recall for value in case.values}
    for group in GROUPS:
        halves = Counter(case.half for case in found if case.group == group)
        assert min(halves.values()) >= 2
        assert max(halves.values()) - min(halves.values()) <= 1
    assert {case.half for case in found[:8]} == {"tuning", "held out"}


def life(kept: float, threshold: float = LEAST_KEPT, *, out_of_sight: bool = False) -> dict[str, Any]:
    span = {"kept_to_the_nearest": kept, "out_of_sight": out_of_sight}
    checks: list[Check] = [at_least("memory outlasts attention", 9.0, 8.0, ""), at_least(LASTS, kept, threshold, "")]
    evidence: dict[str, Any] = {"span": span, "echo": None, "travel": 3.0}
    return conclude("proof-of-life", checks, evidence, 1.0).model_dump(mode="json")


def lines_of(case: Case, gate: dict[str, Any], memory: list[float], twin: list[float]) -> dict[tuple[str, str], Any]:
    arms = {
        name: {"failure": None, "held_loss": values, "held_accuracy": values, "seconds": 9.0}
        for name, values in (("memory", memory), ("twin", twin))
    }
    said = {"gates": {"gates": [gate], "seconds": 1.0}, "earlier": {"gates": [], "seconds": 1.0}}
    return {(case.name, part): line for part, line in {**arms, **said}.items()}


@pytest.mark.parametrize(
    ("case", "memory", "twin", "beats", "learned"),
    [
        (RECALL, [0.9, 0.95, 0.85, 0.9], [0.02, 0.0, 0.01, 0.03], True, True),
        # An eighth is what the values of a row are worth without their keys.
        (RECALL, [0.12, 0.12, 0.11, 0.12], [0.01, 0.01, 0.01, 0.01], True, False),
        (RECALL, [0.9, 0.0, 0.9, 0.0], [0.0, 0.0, 0.0, 0.0], False, False),
        (TEXT, [2.0, 2.1, 1.9, 2.0], [2.1, 2.2, 2.0, 2.11], True, True),
        (TEXT, [2.1, 2.2, 2.0, 2.11], [2.0, 2.1, 1.9, 2.0], False, False),
    ],
)
def test_learned_is_what_beats_its_twin_by_more_than_can_be_had_without_binding(
    case: Case, memory: list[float], twin: list[float], beats: bool, learned: bool
) -> None:
    """Kills: the sign of a loss; a mean without its interval; a set of values that counts as recall."""
    found = judge(case, lines_of(case, life(0.9), memory, twin))
    assert found is not None
    assert (found.beats, found.learned) == (beats, learned)


def test_a_run_that_broke_off_has_not_learned_and_a_case_without_all_parts_is_left_out() -> None:
    """Kills: a failed run that is compared with its twin; a half made case that counts as refused."""
    lines = lines_of(RECALL, life(0.9), [0.9] * 4, [0.0] * 4)
    lines[RECALL.name, "memory"] = {"failure": "the loss is nan", "seconds": 1.0}
    found = judge(RECALL, lines)
    assert found is not None
    assert not found.learned
    del lines[RECALL.name, "gates"]
    assert judge(RECALL, lines) is None


def test_a_twin_is_trained_where_a_run_may_have_learned_and_the_gates_as_they_were_are_asked_of_the_first_draw() -> (
    None
):
    """Kills: hours of twins that decide nothing; a run that may have learned judged without its twin."""
    fresh = Case("recall-1-00", "recall", "fresh", "recall", (), LONG, ())
    lines = lines_of(fresh, life(0.9), [0.9] * 4, [0.0] * 4) | lines_of(RECALL, life(0.9), [0.12] * 4, [0.0] * 4)
    for case in (fresh, RECALL):
        del lines[case.name, "twin"], lines[case.name, "earlier"]
    assert [each.key for each in missing([fresh, RECALL], lines)] == [("recall-1-00", "twin"), ("recall-00", "earlier")]
    assert [each.key for each in missing([fresh], lines)] == [("recall-1-00", "twin")]
    assert judge(fresh, lines) is None
    lines["recall-00", "earlier"] = {"gates": [], "seconds": 1.0}
    assert missing([RECALL], lines) == []
    found = judge(RECALL, lines)
    assert found is not None
    assert not found.learned


@pytest.mark.parametrize(("part", "whole"), [(0, 9), (9, 9), (14, 15), (30, 88)])
def test_the_interval_of_a_share_leaves_a_fortieth_on_each_side(part: int, whole: int) -> None:
    """Kills: the normal interval, which is a point at 0 and at 1; a tail of 5% on each side."""
    low, high = binomial_interval(part, whole)
    binomial = [math.factorial(whole) // (math.factorial(k) * math.factorial(whole - k)) for k in range(whole + 1)]

    def chance(p: float, counts: range) -> float:
        return sum(binomial[k] * p**k * (1.0 - p) ** (whole - k) for k in counts)

    assert low == pytest.approx(0.0, abs=1e-12) or chance(low, range(part, whole + 1)) == pytest.approx(0.025)
    assert high == pytest.approx(1.0, abs=1e-12) or chance(high, range(part + 1)) == pytest.approx(0.025)
    assert (low > 0.0, high < 1.0) == (part > 0, part < whole)


def test_a_study_is_judged_by_the_thresholds_of_the_code_as_it_is() -> None:
    """Kills: the verdict of the day of the study; an old check judged by the threshold of a new one."""
    stale = life(0.5 * LEAST_KEPT, threshold=0.0)
    found = judge(RECALL, lines_of(RECALL, stale, [0.9] * 4, [0.0, 0.1, 0.0, 0.1]))
    assert found is not None
    assert GateResult.model_validate(stale).verdict == "PASS"
    assert (found.passes(found.earlier), found.passes(found.gates)) == (True, False)


@pytest.mark.parametrize(("echo", "passes"), [(0.05, False), (0.2, True), (None, True)])
def test_the_travel_of_a_stored_line_is_judged_by_the_echo_beside_it(echo: float | None, passes: bool) -> None:
    """Kills: travel judged without what is heard; an echo that asks for nothing."""
    checks = [at_least(TRAVELS, 2.5, 9.0, "")]
    evidence: dict[str, Any] = {"span": {"kept_to_the_nearest": 0.9}, "echo": echo, "travel": 2.5}
    stored = conclude("proof-of-life", checks, evidence, 1.0).model_dump(mode="json")
    found = judge(RECALL, lines_of(RECALL, stored, [0.9, 0.91] * 2, [0.0] * 4))
    assert found is not None
    assert found.passes(found.gates) is passes


def test_a_line_from_before_the_rehearsal_waits_for_proof_of_life_as_it_is_now() -> None:
    """Kills: thresholds that judge a short run still; a verdict without the rehearsal; a long run examined anew; a
    growth of other steps than are rehearsed now, held against what is asked now.
    """
    short = Case("recall-1-01", "recall", "fresh", "recall", (), (), ())
    lines = lines_of(short, life(0.1, threshold=0.0), [0.9, 0.91] * 2, [0.0] * 4)
    lines |= lines_of(RECALL, life(0.9), [0.9, 0.91] * 2, [0.0] * 4)
    assert judge(short, lines) is None
    assert [each.key for each in missing([short, RECALL], lines)] == [("recall-1-01", "life")]
    for growth, passes in ((1.7, False), (1.8, True)):
        checks = [at_least("memory outlasts attention", 9.0, 8.0, ""), at_least(FOLLOWS, growth, 1.75, "")]
        anew = conclude("proof-of-life", checks, {"echo": None}, 1.0).model_dump(mode="json")
        lines[short.name, "life"] = {"gates": [anew], "seconds": 1.0}
        found = judge(short, lines)
        assert found is not None
        assert (found.passes(found.gates), found.passes(found.earlier)) == (passes, True)
        assert missing([short], lines) == []
        lines[short.name, "gates"] = {"gates": [anew], "seconds": 1.0}
        del lines[short.name, "life"]
        assert missing([short], lines) == []
        lines |= lines_of(short, life(0.1, threshold=0.0), [0.9, 0.91] * 2, [0.0] * 4)


def test_precision_is_of_what_passes_and_recall_of_what_learned() -> None:
    """Kills: the two exchanged; tuned and held-out cases in one count; a certificate told of answers in sight."""
    lines: dict[tuple[str, str], Any] = {}
    found: list[Case] = []
    # Kept and accuracy: two that pass and learn, one that passes only, three that learn only.
    for number, (kept, right) in enumerate([(0.9, 0.9), (0.9, 0.9), (0.9, 0.0), (0.0, 0.9), (0.0, 0.9), (0.0, 0.9)]):
        case = Case(f"recall-{number}", "recall", "held out", "recall", (), LONG, ())
        found.append(case)
        lines |= lines_of(case, life(kept, out_of_sight=number > 0), [right, right + 0.01] * 2, [0.0] * 4)
    # A case that was tuned on since it was held out counts nowhere here.
    since = Case("recall-1-0", "recall", "tuned on since", "recall", (), LONG, ())
    lines |= lines_of(since, life(0.9, out_of_sight=True), [0.9, 0.91] * 2, [0.0] * 4)
    told = tables([*found, since], lines)
    line = next(each for each in told.text.splitlines() if each.startswith("| all |"))
    assert line.split("|")[-4:-1] == [" 3 of 6 ", " 2/3 = 67% [9%, 99%] ", " 2/5 = 40% [5%, 85%] "]
    assert told.text.endswith(f"held out: {Share(passed=2, learned=1).told()}")
    assert "tuning" not in told.text.partition("every configuration")[0]
    assert sum(isinstance(each, Judged) for each in told.judged) == 7


def test_a_line_that_a_cut_left_unfinished_is_made_again(tmp_path: Path) -> None:
    """Kills: a study that cannot go on; a part made twice."""
    path = tmp_path / "lines.jsonl"
    assert read_lines(path) == {}
    whole = {"case": "recall-00", "part": "twin", "seconds": 1.0}
    path.write_text(json.dumps(whole) + "\n" + '{"case": "recall-01", "part": "ga')
    assert read_lines(path) == {("recall-00", "twin"): whole}
