"""The port in JavaScript is a right one, and no request brings it down.

A port is asked here that has nothing to do with `--port`; where Node is not, the tests are skipped.
"""

from collections.abc import Iterator

import pytest

from spec_tests.port import Op
from spec_tests.ports.javascript import NodePort, NoNodeError
from spec_tests.process.check import check as examine
from spec_tests.vectors.case import absent, load_cases
from spec_tests.vectors.judge import check

LEVELS = range(4)


@pytest.fixture(scope="module")
def program() -> Iterator[NodePort]:
    try:
        port = NodePort()
    except NoNodeError as error:
        pytest.skip(str(error))
    with port:
        yield port


def test_it_has_every_operation_below_the_blocks_but_those_of_miras_and_tnt(program: NodePort) -> None:
    levels = {case.op: case.level for case in load_cases()}
    missing = {op for op, level in levels.items() if level in LEVELS} - program.declare().operations
    assert missing == {
        Op.MEMORY_HIERARCHICAL,
        Op.MIRAS_SCAN,
        Op.MIRAS_CHUNKED,
        Op.RIDGE_SCAN,
        Op.MEMORY_SCHEDULE,
        Op.STABLEMAX_LOSS,
        Op.HALT_LOSS,
        Op.EPISODE_ROWS,
        Op.EPISODE_LOSS,
        Op.GATE_FLOOR,
        Op.MEMORY_TELEMETRY,
        Op.RETRIEVAL_GAIN,
        Op.SLOT_MEMORY,
        Op.TRM_RECURSION,
        Op.SUPERVISED_LOSS,
        Op.CONCENTRATION_NULL,
        Op.GROKKING_PHASES,
    }


def test_stored_cases_are_within_their_budgets_in_every_precision_in_turn(program: NodePort) -> None:
    asked: set[Op] = set()
    for number, case in enumerate(load_cases()):
        kinds = [each for each in case.numerics if absent(program.declare(), case, each) is None]
        if case.level in LEVELS and kinds:
            numerics = kinds[number % len(kinds)]
            check(program, case, numerics)
            asked.add(case.op)
    assert asked == program.declare().operations


def test_it_speaks_the_protocol_to_the_letter(program: NodePort) -> None:
    with NodePort() as examined:
        problems = {found.step: found.problem for found in examine(examined) if found.problem is not None}
    assert problems == {}
