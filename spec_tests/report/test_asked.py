"""What the suite asks for is measured, and what is taken away is missed."""

import numpy as np
import pytest

from spec_tests.contract.asked import Question, listening
from spec_tests.contract.driver import run
from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import Numerics, Op
from spec_tests.ports.reference import ReferencePort
from spec_tests.report.asked import Notes, never_asked, of_cases, question_of, stored
from spec_tests.report.facets import demands, facets
from spec_tests.report.impossible import ANYWHERE, HERE, UNDIFFERENTIATED, reason
from spec_tests.report.listener import check, choose
from spec_tests.vectors.case import Case, load_cases


def missed(taken: list[Case]) -> set[str]:
    """Return what is never asked for by the stored cases without some, and is by all of them."""
    left = [case for case in load_cases() if case.id not in {each.id for each in taken}]
    return set(never_asked(of_cases(left))) - set(never_asked(stored()))


def test_a_value_is_missed_when_its_cases_are_taken_away() -> None:
    taken = [case for case in load_cases(op=Op.NEWTON_SCHULZ) if case.config["coefficients"] == "polar_express"]
    assert "newton_schulz is never asked for coefficients=polar_express" in missed(taken)


def test_the_second_value_of_a_number_is_missed() -> None:
    taken = [case for case in load_cases(op=Op.LTM_SCAN) if case.config["decay"] != 0.9]
    assert "ltm_scan is never asked for 2 values of decay" in missed(taken)


def test_a_size_is_missed() -> None:
    taken = [case for case in load_cases(op=Op.STABLEMAX) if case.inputs["x"].shape[1] > 1]
    assert "stablemax is never asked for 2 values of dim of length" in missed(taken)


def test_a_gradient_is_missed_and_one_that_is_zero_counts_for_nothing() -> None:
    (case, *rest) = [case for case in load_cases(op=Op.L2_NORMALIZE) if case.cotangents]
    assert "l2_normalize is never asked for gradient of x" in missed([case, *rest])
    question = question_of(case)
    assert "gradient of x" in set(facets(question))
    zero = {**question.answer, "grad.x": np.zeros_like(question.answer["grad.x"])}
    assert "gradient of x" not in set(facets(Question(question.op, question.config, question.given, zero)))


def test_garbage_where_it_must_not_be_seen_is_heard_where_it_stands() -> None:
    given = {
        "x": np.array([[[np.inf], [1.0], [2.0]]]),
        "weight": np.ones((1, 2)),
        "tail": np.zeros((1, 1, 1)),
        "position": np.array([[3, 0, 1]]),
    }
    found = set(facets(Question(Op.SHORT_CONV, {}, given, {})))
    assert "not finite: x" in found
    assert "not finite: tail" not in found


def test_every_question_through_the_driver_is_heard_while_somebody_listens() -> None:
    notes, x = Notes(), np.ones((2, 3))
    with listening(notes.hear):
        run(ReferencePort(), Op.L2_NORMALIZE, Numerics.F64, {"x": x}, eps=0.5)
    run(ReferencePort(), Op.L2_NORMALIZE, Numerics.F64, {"x": x}, eps=0.25)
    assert notes.asked.keys() == {Op.L2_NORMALIZE}
    assert notes.asked[Op.L2_NORMALIZE] == {"eps=0.5", "batch of length 2", "dim of length 3"}


def test_a_test_that_no_longer_asks_what_is_said_of_it_fails() -> None:
    said = {Op.L2_NORMALIZE: frozenset({"eps=0.5"})}
    check("test_a:test_b", said, {Op.L2_NORMALIZE: frozenset({"eps=0.5", "dim of length 3"})})
    with pytest.raises(AssertionError, match=r"test_a:test_b no longer asks l2_normalize for eps=0\.5"):
        check("test_a:test_b", said, {Op.L2_NORMALIZE: frozenset({"eps=0.25"})})


def test_a_test_is_chosen_for_what_is_not_asked_already_and_for_nothing_else() -> None:
    heard = {
        "test_a:test_b": {Op.STABLEMAX: frozenset({"dim of length 6", "dim of length 7"})},
        "test_c:test_d": {Op.STABLEMAX: frozenset({"batch above 4", "dim of length 8"})},
    }
    already = {Op.STABLEMAX: frozenset({"dim of length 2", "dim of length 3"})}
    assert choose(heard, already) == {"test_c:test_d": {Op.STABLEMAX: {"batch above 4"}}}
    assert choose(heard, {})["test_a:test_b"] == {Op.STABLEMAX: {"dim of length 6", "dim of length 7"}}


def test_every_excuse_stands_for_something_that_the_table_demands() -> None:
    demanded = {op: {demand.words for demand in demands(row)} for op, row in OPERATIONS.items()}
    for words, _ in ANYWHERE:
        assert any(words in found for found in demanded.values()), f"nothing demands {words}"
    for op, words, _ in HERE:
        assert words in demanded[op], f"{op} is not asked for {words}"
    for op, _ in UNDIFFERENTIATED:
        assert any(reason(op, words) for words in demanded[op])
