"""Faults made from the table: each is noticed or argued, an argument is refuted, and a fault that is none survives."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pytest

from spec_tests.contract.operations import OPERATIONS
from spec_tests.faults.generated.catalogue import GENERATED, KINDS
from spec_tests.faults.generated.configuration import SHAPED, USUAL
from spec_tests.faults.generated.kind import Generated
from spec_tests.port import PROFILES, Numerics, Op, Run
from spec_tests.ports.reference import ReferencePort
from spec_tests.report.sentences import of_clause, read_sentences
from spec_tests.sampling import sample
from spec_tests.selfproof.arguments import CHECKS, changes_no_answer, no_derivative_is_asked, no_model_has_it
from spec_tests.selfproof.generated import Judge, SoundPort, Verdict
from spec_tests.selfproof.listed import entries, idle, noticing

QUICK: Final = (Op.MAG_GATE, Op.M3_MIX, Op.LTM_SCAN, Op.L2_NORMALIZE, Op.PERP_GRAD)
"""Operations that are tried whole in every run: a question takes a millisecond."""
PIECE: Final = 40
"""Faults of one operation that one test tries, where there are many: the largest have seven hundred."""


def fault_named(name: str) -> Generated:
    return next(fault for fault in GENERATED if fault.id == name)


def complaints(faults: Sequence[Generated]) -> list[str]:
    """Return what is wrong; tests are run where no stored case notices, first the one that `noticed.toml` names."""
    judge = Judge(faults[0].op)
    found = []
    for fault in faults:
        verdict = judge.by_tests(judge.by_named_tests(judge.by_cases(fault)))
        found += verdict.complaints()
    return found


PIECES: Final = [
    (op, first)
    for op in OPERATIONS
    if op not in QUICK
    for first in range(0, sum(fault.op == op for fault in GENERATED), PIECE)
]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("op", "first"), PIECES)
def test_every_generated_fault_is_noticed_or_argued(op: Op, first: int) -> None:
    """Forty faults of an operation, from a first one on: processes share what is in pieces."""
    faults = [fault for fault in GENERATED if fault.op == op]
    assert complaints(faults[first : first + PIECE]) == []


@pytest.mark.parametrize("op", QUICK)
def test_every_fault_of_a_small_operation_is_noticed_or_argued(op: Op) -> None:
    assert complaints([fault for fault in GENERATED if fault.op == op]) == []


def harmless(run: Run) -> Run:
    return run


def test_a_change_that_changes_nothing_survives_and_is_a_complaint() -> None:
    nothing = replace(
        fault_named("ltm_scan/not-taken/carry"), id="ltm_scan/nothing", wrap=harmless, numerics=(Numerics.F64,)
    )
    judge = Judge(Op.LTM_SCAN)
    verdict = judge.by_tests(judge.by_named_tests(judge.by_cases(nothing)))
    assert verdict.survives == (Numerics.F64,)
    assert verdict.complaints()[0] == "ltm_scan/nothing: nothing notices it in f64"


def test_a_named_test_that_does_not_notice_leaves_its_fault_surviving() -> None:
    """Kills: a line of `noticed.toml` that is believed and not tried."""
    leak = fault_named("ltm_scan/garbage-leaks/carry of another document")
    judge = Judge(Op.LTM_SCAN)
    assert all(noticing(leak, numerics) for numerics in PROFILES)
    assert judge.by_cases(leak).survives == PROFILES
    assert judge.by_named_tests(judge.by_cases(leak)).survives == ()
    nothing = replace(leak, wrap=harmless)
    assert judge.by_named_tests(judge.by_cases(nothing)).survives == PROFILES


def test_an_argument_for_a_fault_that_is_noticed_is_refused() -> None:
    argued = fault_named("m3_mix/gradient-zero/previous")
    assert Verdict(argued, {Numerics.F64: ""}).complaints() == []
    (complaint,) = Verdict(argued, {Numerics.F64: "ATL-M3-001"}).complaints()
    assert complaint == f"{argued.id}: argued in f64, and yet ATL-M3-001 notices it"


def test_every_argument_has_a_reason_and_every_line_speaks_of_some_fault() -> None:
    assert [entry.faults for entry in (*entries("argued"), *entries("noticed")) if not entry.says] == []
    assert {entry.holds for entry in entries("argued")} <= {"", *CHECKS}
    assert list(idle(GENERATED)) == []


def checked() -> list[tuple[Generated, str]]:
    """Return every fault with an argument that can be checked, those of an entry one after another."""
    known = {fault.id: fault for fault in GENERATED}
    spoken = [(entry.holds, entry.among(known)) for entry in entries("argued") if entry.holds]
    return [(fault, holds) for holds, names in spoken for name, fault in known.items() if name in names]


def test_no_derivative_is_asked_of_what_is_argued_so() -> None:
    asked = [fault for fault, holds in checked() if holds == "no derivative is asked"]
    assert len(asked) > 100
    assert [fault.id for fault in asked if not no_derivative_is_asked(fault, ReferencePort())] == []


@pytest.mark.parametrize(
    ("fault", "holds"), sample((pair for pair in checked() if pair[1] != "no derivative is asked"), kept=4)
)
def test_what_an_argument_says_holds_for_every_stored_question(fault: Generated, holds: str) -> None:
    sound = ReferencePort() if holds == "no model has it" else SoundPort()
    assert CHECKS[holds](fault, sound)


def test_an_argument_that_does_not_hold_is_found() -> None:
    assert not changes_no_answer(fault_named("ltm_scan/not-taken/carry"), SoundPort())
    assert not no_derivative_is_asked(fault_named("ltm_scan/gradient-zero/carry"), SoundPort())
    assert not no_model_has_it(fault_named("mag_block/zero-is-absent/floor"), ReferencePort())


def test_there_are_hundreds_of_faults_of_every_kind_each_with_its_own_id() -> None:
    assert len(GENERATED) >= 600
    assert len({fault.id for fault in GENERATED}) == len(GENERATED)
    assert {fault.kind for fault in GENERATED} == {kind.name for kind in KINDS}
    assert {fault.op for fault in GENERATED} == set(OPERATIONS)


def test_every_fault_names_a_sentence_that_forbids_it() -> None:
    known = {sentence.id for sentence in read_sentences()}
    named = {name for fault in GENERATED for name in fault.forbidden_by}
    assert [fault.id for fault in GENERATED if not fault.forbidden_by] == []
    assert {of_clause(name) for name in named} <= known


def test_every_number_of_the_configuration_has_values_that_a_port_may_be_stuck_at() -> None:
    numbers = {key for row in OPERATIONS.values() for key, kind in row.config.items() if kind in (int, float)}
    assert numbers - SHAPED.keys() == USUAL.keys()
