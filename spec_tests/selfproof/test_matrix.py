"""The matrix of faults: what is noticed, and where a fault first shows."""

from dataclasses import replace

from spec_tests.faults.catalogue import CATALOGUE
from spec_tests.port import Numerics, Op, Run
from spec_tests.ports.numpy import NumpyPort
from spec_tests.ports.reference import ReferencePort
from spec_tests.selfproof.matrix import claimed_test_fails, first_difference, row_of
from spec_tests.vectors.case import load_cases

CASES = load_cases(op=Op.LTM_SCAN)
FAULT = next(fault for fault in CATALOGUE if fault.op == Op.LTM_SCAN and fault.id in CASES[0].kills)


def harmless(run: Run) -> Run:
    return run


def test_a_fault_is_noticed_located_and_hinted_in_another_implementation() -> None:
    row = row_of(FAULT, CASES, ReferencePort(), NumpyPort())
    assert not row.survives
    assert row.cases
    assert row.located[0] == row.located[1] > 0
    assert row.hinted[0] == row.hinted[1] > 0


def test_a_change_that_changes_nothing_survives_and_shows_nowhere() -> None:
    nothing = replace(FAULT, wrap=harmless)
    assert not claimed_test_fails(nothing, Numerics.F64, ReferencePort())
    assert row_of(nothing, (), ReferencePort(), NumpyPort()).survives
    assert first_difference(CASES[0], nothing, ReferencePort()) is None
