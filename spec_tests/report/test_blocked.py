"""A failure that only follows from a broken primitive says so, and is a failure all the same."""

import pytest

from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.outcome import Outcome
from spec_tests.port import Op, Scalar
from spec_tests.report.blocked import RESTS, with_blocked
from spec_tests.report.model import Result
from spec_tests.report.samples import report, result

BROKEN = result("ns", Outcome.FAIL, Op.NEWTON_SCHULZ)
STEP = result("step", Outcome.ERROR, Op.MEMORY_STEP)


def fate(dependent: Result, *others: Result) -> tuple[Outcome, Op | None]:
    found = {each.id: each for each in with_blocked([dependent, *others])}[dependent.id]
    return found.outcome, found.blocked_by


@pytest.mark.parametrize(("rule", "blocked"), [("atlas", True), ("atlas_appendix", True), ("omega", False)])
def test_a_memory_is_blocked_by_newton_schulz_where_its_rule_uses_it(rule: Scalar, blocked: bool) -> None:
    memory = result("memory", Outcome.FAIL, Op.MEMORY_STEP, rule=rule)
    expected = (Outcome.BLOCKED, Op.NEWTON_SCHULZ) if blocked else (Outcome.FAIL, None)
    assert fate(memory, BROKEN) == expected


def test_one_case_of_the_primitive_that_passes_unblocks() -> None:
    memory = result("memory", Outcome.FAIL, Op.MEMORY_STEP, rule="atlas")
    assert fate(memory, BROKEN, result("sound", Outcome.PASS, Op.NEWTON_SCHULZ)) == (Outcome.FAIL, None)


def test_a_primitive_that_was_not_asked_alone_blocks_nothing() -> None:
    memory = result("memory", Outcome.FAIL, Op.MEMORY_STEP, rule="atlas")
    assert fate(memory, result("ns", Outcome.UNSUPPORTED, Op.NEWTON_SCHULZ)) == (Outcome.FAIL, None)


def test_the_deepest_broken_operation_is_named() -> None:
    chunked = result("chunked", Outcome.FAIL, Op.MEMORY_CHUNKED, rule="omega")
    scan = result("scan", Outcome.FAIL, Op.MEMORY_SCAN, rule="omega")
    assert fate(chunked, scan) == (Outcome.BLOCKED, Op.MEMORY_SCAN)
    assert fate(chunked, scan, STEP) == (Outcome.BLOCKED, Op.MEMORY_STEP)
    assert fate(chunked, STEP) == (Outcome.BLOCKED, Op.MEMORY_STEP)


def test_a_case_that_passes_is_never_blocked() -> None:
    assert fate(result("memory", Outcome.PASS, Op.MEMORY_STEP, rule="atlas"), BROKEN) == (Outcome.PASS, None)


def test_a_blocked_case_fails_the_run() -> None:
    found = report(STEP, result("scan", Outcome.FAIL, Op.MEMORY_SCAN, level=2))
    assert [each.outcome for each in found.results] == [Outcome.ERROR, Outcome.BLOCKED]
    assert found.verdict.exit_code == 1
    assert found.levels[2].blocked == 1


def test_no_operation_rests_on_itself_or_on_one_of_a_higher_level() -> None:
    for rest in RESTS:
        for op in rest.operations:
            assert op is not rest.primitive
            if {op, rest.primitive} <= OPERATIONS.keys():
                assert OPERATIONS[rest.primitive].level <= OPERATIONS[op].level
