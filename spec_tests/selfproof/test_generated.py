"""Faults made from the table: each is noticed or argued, an argument is refuted, and a fault that is none survives."""

from dataclasses import replace

import pytest

from spec_tests.contract.operations import OPERATIONS
from spec_tests.faults.generated.catalogue import GENERATED, KINDS
from spec_tests.faults.generated.configuration import SHAPED, USUAL
from spec_tests.port import PROFILES, Numerics, Op, Run
from spec_tests.report.sentences import of_clause, read_sentences
from spec_tests.selfproof.argued import arguments, idle, is_known, unnoticed
from spec_tests.selfproof.generated import Judge, Verdict

SAMPLE = (Op.MAG_GATE, Op.M3_MIX)
"""Operations of which a sample is tried in every run: a question takes a millisecond."""
EVERY = 9


def complaints(op: Op, every: int = 1) -> list[str]:
    """Return what is wrong; tests, which take seconds each, are only tried where a fault is not known to survive."""
    judge = Judge(op)
    found = []
    for fault in [fault for fault in GENERATED if fault.op == op][::every]:
        verdict = judge.by_cases(fault)
        if not all(is_known(complaint) for complaint in verdict.complaints()):
            verdict = judge.by_tests(verdict)
        found += [complaint for complaint in verdict.complaints() if not is_known(complaint)]
    return found


@pytest.mark.exhaustive
@pytest.mark.parametrize("op", OPERATIONS)
def test_every_generated_fault_is_noticed_or_argued_or_known_to_survive(op: Op) -> None:
    assert complaints(op) == []


@pytest.mark.parametrize("op", SAMPLE)
def test_every_ninth_fault_of_a_small_operation_is_noticed_or_argued(op: Op) -> None:
    assert complaints(op, EVERY) == []


def harmless(run: Run) -> Run:
    return run


def test_a_change_that_changes_nothing_survives_and_is_a_complaint() -> None:
    fault = next(fault for fault in GENERATED if fault.id == "ltm_scan/not-taken/carry")
    nothing = replace(fault, id="ltm_scan/nothing", wrap=harmless)
    judge = Judge(Op.LTM_SCAN)
    assert judge.by_cases(fault).survives == ()
    verdict = judge.by_tests(judge.by_cases(nothing))
    assert verdict.survives == PROFILES
    assert verdict.complaints()[0] == "ltm_scan/nothing: nothing notices it in f64"


def test_an_argument_for_a_fault_that_is_noticed_is_refused() -> None:
    argued = next(fault for fault in GENERATED if fault.id == "m3_mix/gradient-zero/previous")
    assert Verdict(argued, {Numerics.F64: ""}).complaints() == []
    (complaint,) = Verdict(argued, {Numerics.F64: "ATL-M3-001"}).complaints()
    assert complaint == f"{argued.id}: argued in f64, and yet ATL-M3-001 notices it"


def test_every_argument_has_a_reason_and_speaks_of_some_fault() -> None:
    assert [argument.faults for argument in arguments() if not argument.reason] == []
    assert list(idle(GENERATED)) == []


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


def test_a_refuted_argument_and_a_fault_that_is_not_listed_are_never_known_to_survive() -> None:
    listed = min(unnoticed())
    assert is_known(f"{listed}: nothing notices it in bf16_io")
    assert not is_known(f"{listed}: argued in bf16_io, and yet ATL-LTM-001 notices it")
    assert not is_known("ltm_scan/not-taken/carry: nothing notices it in f64")
