"""A case is written only where two oracles agree, correct variants fit, and it is good for something."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atlas_ref.errors import UserError
from spec_tests.port import Numerics, Op
from spec_tests.ports.reference import ReferencePort
from spec_tests.vectors import fill as filling
from spec_tests.vectors import truth as oracles
from spec_tests.vectors.case import TENSORS, load_cases
from spec_tests.vectors.check import problems
from spec_tests.vectors.compare import distances
from spec_tests.vectors.ensemble import FACTOR, ensemble
from spec_tests.vectors.fill import coverage, fill, fill_case, question_of
from spec_tests.vectors.judge import judge
from spec_tests.vectors.permute import relabelling, symmetries
from spec_tests.vectors.ports import Changed
from spec_tests.vectors.source import Source
from spec_tests.vectors.sources import SOURCES
from spec_tests.vectors.truth import loops, reference, truth


def source(name: str) -> Source:
    return next(source for source in SOURCES if source.id == name)


def quiet(_: str) -> None: ...


def test_ids_are_unique() -> None:
    names = [source.id for source in SOURCES]
    assert sorted(set(names)) == sorted(names)


def test_filling_again_gives_the_stored_case(tmp_path: Path) -> None:
    fill([source("ATL-CONV-001")], tmp_path, quiet)
    again, stored = load_cases(data=tmp_path)[0], load_cases(op=Op.SHORT_CONV)[0]
    for errors in distances(stored.op, again.expected, stored.expected).values():
        assert errors.max() <= 1e-13
    assert again.provenance["source_sha256"] == stored.provenance["source_sha256"]


def test_a_case_on_which_the_oracles_disagree_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    off = Changed(loops(), lambda answer: {"y": answer["y"] * (1.0 + 1e-11)})
    monkeypatch.setattr(oracles, "loops", lambda: off)
    question = question_of(source("ATL-CONV-001"))
    with pytest.raises(UserError, match=r"differ by .* in y"):
        truth("ATL-CONV-001", question)


def test_a_case_that_kills_nothing_must_say_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "margins", lambda *_: {})
    with pytest.raises(UserError, match="no seeded fault"):
        fill_case(source("ATL-CONV-001"))
    assert fill_case(replace(source("ATL-CONV-001"), beside=True)).kills == ()


def test_a_correct_variant_over_the_budget_refuses_the_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spec_tests.vectors.ensemble.FACTOR", dict.fromkeys(FACTOR, 1e-30))
    monkeypatch.setattr("spec_tests.vectors.ensemble.ROUNDINGS", 1e-30)
    with pytest.raises(UserError, match="a correct variant exceeds the budget"):
        fill_case(source("ATL-QK-001"))


def test_another_question_under_the_same_revision_is_refused(tmp_path: Path) -> None:
    first = source("ATL-CONV-002")
    fill([first], tmp_path, quiet)
    other = replace(first, inputs={**first.inputs, "x": 2.0 * first.inputs["x"]})
    with pytest.raises(UserError, match="give it revision 2"):
        fill([other], tmp_path, quiet)
    assert fill([replace(other, revision=2)], tmp_path, quiet)[0].revision == 2


def test_a_changed_source_and_a_changed_value_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = source("ATL-CONV-002")
    fill([first], tmp_path, quiet)
    assert list(problems([first], tmp_path)) == []
    other = replace(first, inputs={**first.inputs, "x": 2.0 * first.inputs["x"]})
    assert [line for line in problems([other], tmp_path) if "source has changed" in line]
    assert [line for line in problems([], tmp_path) if "no source" in line]
    assert [line for line in problems([first, source("ATL-CONV-004")], tmp_path) if "not stored" in line]
    off = Changed(reference(), lambda answer: {"y": answer["y"] * (1.0 + 1e-12)})
    monkeypatch.setattr(oracles, "reference", lambda: off)
    assert [line for line in problems([first], tmp_path) if "the reference now gives another y" in line]


def test_there_are_enough_variants_and_axes_are_relabelled() -> None:
    for name in ("ATL-SCAN-002", "ATL-ATT-001", "ATL-GRAD-001"):
        question = question_of(source(name))
        variants = ensemble(question)
        assert len(variants.admitted) >= 12
        assert len(variants.held_out) >= 4
        groups = {axis for group in symmetries(question, reference()) for axis in group}
        assert {"batch", "heads"} <= groups
        assert not groups & {"window", "kernel", "degree"}
        order = relabelling(question, tuple((axis,) for axis in ("batch", "heads")), seed=1).order
        assert all((np.sort(places) == np.arange(len(places))).all() for places in order.values())
        assert all((places != np.arange(len(places))).any() for places in order.values())


def test_coverage_names_the_faults_that_no_case_kills() -> None:
    lines = list(coverage(load_cases(op=Op.SHORT_CONV)[:2]))
    line = next(line for line in lines if line.startswith("short_conv"))
    assert "conv-tail-detached" in line
    assert any(line.endswith("no case") for line in lines)


def test_every_budget_allows_what_rounding_does_and_little_more() -> None:
    largest = {
        Numerics.F64: 1e-9,
        Numerics.F32: 1e-2,
        Numerics.BF16_IO: 0.1,
        Numerics.BF16_INSIDE: 0.3,
        Numerics.TF32: 0.03,
    }
    for case in load_cases():
        for numerics, tensors in case.budgets.items():
            for name, budget in tensors.items():
                assert budget.max(initial=0.0) <= largest[numerics], f"{case.id} {name} {numerics}"


def test_a_case_that_is_kept_keeps_every_bit_and_takes_its_new_reason(tmp_path: Path) -> None:
    first, second = source("ATL-CONV-002"), source("ATL-CONV-004")
    fill([first], tmp_path, quiet)
    path = next(tmp_path.rglob(TENSORS))
    before = path.read_bytes()
    said: list[str] = []
    (kept, new) = fill([replace(first, why="another reason"), second], tmp_path, said.append, keep=True)
    assert path.read_bytes() == before
    assert (kept.why, new.id) == ("another reason", second.id)
    assert not [line for line in said if line.startswith(first.id)]


def test_a_long_call_is_stored_without_the_state_after_every_token() -> None:
    """Kills: a replay of every prefix of a long call; a tap that is called missing where no case holds it."""
    long = fill_case(replace(source("ATL-SCAN-016"), traced=False))
    assert not {"gradient", "momentum_trace", "weights_trace"} & long.expected.keys()
    assert not long.question.traced
    found = judge(ReferencePort(), long, Numerics.F64)
    assert (found.divergence, found.untapped) == (None, ())
    doubled = Changed(ReferencePort(), lambda answer: {"reads": 2.0 * answer["reads"]})
    assert (wrong := judge(doubled, long, Numerics.F64).divergence) is not None
    assert wrong.tensor == "reads"
