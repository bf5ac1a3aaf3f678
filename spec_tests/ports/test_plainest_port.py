"""A port of the plainest memory alone is asked enough to be trusted, and a rule that climbs is seen by most of it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import Final

import pytest

from spec_tests.contract.outcome import Outcome, classify
from spec_tests.discovery import modules_of_tests
from spec_tests.port import Array, Declaration, Numerics, Op, Port, Scalar
from spec_tests.ports.numpy import NumpyPort
from spec_tests.report.model import Result
from spec_tests.report.samples import report, result
from spec_tests.report.summary import failures
from spec_tests.tally import TALLY
from spec_tests.vectors.case import absent, load_cases
from spec_tests.vectors.judge import judge

MEMORIES: Final = (Op.MEMORY_STEP, Op.MEMORY_SCAN, Op.MEMORY_CHUNKED)
CHAPTERS: Final = ("test_memory_step", "test_memory_scan", "test_memory_chunked")


class PlainestPort(NumpyPort):
    """The numpy loops, which declare `titans` as in its paper and nothing else: b = c = 1, a matrix, one document."""

    def declare(self) -> Declaration:
        """Declare the plainest memory."""
        only = {"rule": "titans", "architecture": "matrix", "chunk": "1", "step_scale": "literal"}
        return replace(
            super().declare(),
            name="plainest",
            operations=frozenset(MEMORIES),
            capabilities=frozenset(),
            only={key: frozenset({value}) for key, value in only.items()},
            longest={"window": 1},
            without=frozenset({"resets"}),
        )


class SingleTokensPort(NumpyPort):
    """The numpy loops, which declare the rule `delta` by single tokens and nothing else."""

    def declare(self) -> Declaration:
        """Declare the rule."""
        only = {"rule": "delta", "architecture": "matrix", "chunk": "1", "step_scale": "literal"}
        return replace(
            super().declare(),
            operations=frozenset(MEMORIES),
            capabilities=frozenset(),
            only={key: frozenset({value}) for key, value in only.items()},
            numerics=(Numerics.F64,),
        )


class ClimbingPort(PlainestPort):
    """The same with the sign of the write turned: S = theta S + eta g."""

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Write against the descent."""
        turned = {**inputs, "step_size": -inputs["step_size"]}
        return super().run(op, config, turned, numerics=numerics, taps=taps)


def fates(port: Port) -> list[Result]:
    """Return what became of every question of the memory that a port is asked: stored cases, then properties."""
    found = []
    for op in MEMORIES:
        for case in load_cases(op=op):
            for numerics in case.numerics:
                if absent(port.declare(), case, numerics) is None:
                    diverges = judge(port, case, numerics).divergence is not None
                    outcome = Outcome.FAIL if diverges else Outcome.PASS
                    found.append(result(f"{case.id}/{numerics}", outcome, op, numerics, level=case.level))
    for chapter in CHAPTERS:
        module = import_module(modules_of_tests()[chapter])
        found += [result(name, outcome, level=3) for name, outcome in property_fates(module, port)]
    return found


def property_fates(module: ModuleType, port: Port) -> list[tuple[str, Outcome]]:
    """Return what became of each property of a chapter that left something to ask."""
    found = []
    for name, test in vars(module).items():
        if name.startswith("test_") and "port" in test.__annotations__:
            TALLY.begin()
            outcome = Outcome.PASS
            with suppress(pytest.skip.Exception):
                try:
                    test(port=port)
                except AssertionError as error:
                    outcome = classify(error)
                if TALLY.asked or outcome is not Outcome.PASS:
                    found.append((f"{module.__name__.rpartition('.')[2]}:{name}", outcome))
    return found


def test_the_plainest_memory_is_asked_forty_questions_and_exact_loops_pass_them_all() -> None:
    found = fates(PlainestPort())
    assert len(found) >= 40
    assert [each.id for each in found if each.outcome is not Outcome.PASS] == []


def test_a_rule_that_climbs_fails_thirty_of_them_and_the_report_names_the_step_first() -> None:
    found = fates(ClimbingPort())
    failed = [each for each in found if each.failed]
    assert {each.outcome for each in failed} == {Outcome.FAIL}
    assert len(failed) >= 30
    assert [each.id for each in found if each.kind == "vector" and not each.failed] == []
    assert "ATL-STEP-" in next(iter(failures(report(*found))))


def test_a_port_of_single_tokens_is_not_held_to_the_borders_of_chunks_of_four() -> None:
    """Kills: a property that names places in chunks of 4 and asks them of a port that has chunks of 1 only."""
    found = property_fates(import_module(modules_of_tests()["test_memory_chunked"]), SingleTokensPort())
    assert [name for name, outcome in found if outcome is not Outcome.PASS] == []
