"""A property goes on past the questions that a declaration excludes, and what was not judged was not asked."""

import ast
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest

from spec_tests.contract.driver import run
from spec_tests.contract.test_driver import SOUND, StubPort, X
from spec_tests.discovery import files_of_tests
from spec_tests.drawing.strategies import hold, seeds
from spec_tests.port import Numerics, Op
from spec_tests.tally import TALLY, AbsentError, where_declared

SINGLE: Final = StubPort(lambda inputs: {"y": inputs["x"]}, replace(SOUND, only={"eps": frozenset({"0.1"})}))


def ask(eps: float) -> None:
    run(SINGLE, Op.L2_NORMALIZE, Numerics.F32, {"x": X}, eps=eps)


@pytest.fixture(autouse=True)
def fresh_tally() -> Iterator[None]:
    kept = TALLY.asked, TALLY.absent
    TALLY.begin()
    yield
    TALLY.asked, TALLY.absent = kept


def test_a_question_that_is_excluded_ends_its_own_part_of_the_test_alone() -> None:
    reached = []
    for eps in (0.5, 0.1, 0.7):
        with where_declared():
            ask(eps)
            reached.append(eps)
    assert reached == [0.1]
    assert (TALLY.asked, TALLY.absent.total()) == (1, 2)


def test_a_drawn_question_that_is_excluded_is_followed_by_the_next_draw() -> None:
    reached = []

    def check(seed: int) -> None:
        ask(0.1 if seed % 2 else 0.5)
        reached.append(seed)

    hold(seeds, check, examples=12)
    assert reached
    assert TALLY.absent.total() > 0


def test_what_was_asked_with_an_excluded_question_was_not_judged_and_counts_as_not_asked() -> None:
    for _ in range(2):
        with where_declared():
            ask(0.1)
            ask(0.5)
    assert TALLY.asked == 0
    assert "declares eps 0.1 only, not '0.5'" in TALLY.reason


def test_a_failure_goes_through() -> None:
    with pytest.raises(AssertionError, match="wrong"), where_declared():
        raise AssertionError("wrong")


def test_without_a_way_past_it_an_excluded_question_skips_the_test() -> None:
    with pytest.raises(pytest.skip.Exception, match="declares eps"):
        ask(0.5)
    assert issubclass(AbsentError, pytest.skip.Exception)


SAFE: Final = (
    "precisions",
    "forms",
    "both_forms",
    "declared_forms",
    "forms_in_turn",
    "in_turn",
    "points_in_turn",
    "examples",
    "rules_in",
    "rules_of",
    "each_rule",
    "assert_gradients",
    "assert_step",
    "assert_steps",
    "activations",
)
"""Calls that take a port and ask it nothing, or go on past excluded questions by themselves."""


def asks(node: ast.AST) -> bool:
    """Return whether a node is a call that may ask the port."""
    if not isinstance(node, ast.Call) or ast.unparse(node.func).rpartition(".")[2] in SAFE:
        return False
    return any(isinstance(argument, ast.Name) and argument.id == "port" for argument in node.args)


def unguarded(node: ast.AST, *, looped: bool = False) -> Iterator[int]:
    """Yield the lines that ask the port in a loop with no way past an excluded question."""
    if isinstance(node, ast.With) and "where_declared()" in {ast.unparse(item.context_expr) for item in node.items}:
        return
    if looped and asks(node):
        yield getattr(node, "lineno", 0)
    for child in ast.iter_child_nodes(node):
        yield from unguarded(child, looped=looped or isinstance(node, ast.For))


def test_every_loop_of_a_property_goes_on_past_excluded_questions() -> None:
    found = [f"{path.name}:{line}" for path in files_of_tests() for line in unguarded(ast.parse(path.read_text()))]
    assert found == []
