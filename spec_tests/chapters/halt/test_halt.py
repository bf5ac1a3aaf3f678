"""docs/spec/halt.md, against a loop and closed forms."""

from itertools import pairwise

import numpy as np
import pytest

from spec_tests.chapters.halt.oracle import first_halt, halting_loss
from spec_tests.contract.driver import assert_close, assert_same, precisions, run, run_with_gradients
from spec_tests.contract.properties import assert_gradients, representable, unchanged
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Op, Port
from spec_tests.tally import where_declared

HALT = Op.HALT_LOSS
LOGITS = representable(HALT, {"logits": 1.5 * generator(1).standard_normal((10, 5))})["logits"]
CORRECT = generator(2).integers(0, 2, (10, 5))
LEAST = np.array([1, 1, 2, 1, 5, 3, 1, 4, 1, 1])
THRESHOLD = 0.75


def inputs(logits: Array = LOGITS, correct: Array = CORRECT) -> dict[str, Array]:
    return {"logits": logits, "correct": correct, "least": LEAST}


def steps(logits: Array, threshold: float = THRESHOLD) -> Array:
    return np.array([first_halt(row, threshold) for row in logits])


def losses(logits: Array, correct: Array = CORRECT) -> Array:
    """Return the loss of every row by the loops."""
    made = np.maximum(steps(logits), LEAST)
    return np.array([halting_loss(*row) for row in zip(logits, correct, made.tolist(), strict=True)])


@pytest.mark.spec("HALT-1")
def test_a_row_halts_at_the_first_step_that_is_sure_enough_or_at_the_last(port: Port) -> None:
    for numerics in precisions(port):
        for threshold in (0.2, THRESHOLD, 0.99):
            with where_declared():
                result = run(port, HALT, numerics, inputs(), threshold=threshold)
                assert_same(result["halted"], steps(result.inputs["logits"], threshold), f"steps at {threshold}")
        with where_declared():
            exact = run(port, HALT, numerics, inputs(np.zeros_like(LOGITS)), threshold=0.5)
            assert_same(exact["halted"], np.ones(10, dtype=np.int64), "steps of a probability that is the threshold")


@pytest.mark.spec("HALT-2")
def test_a_higher_threshold_never_means_fewer_steps(port: Port) -> None:
    for numerics in precisions(port):
        found = []
        for threshold in (0.1, 0.4, 0.6, 0.8, 0.95):
            with where_declared():
                found.append(run(port, HALT, numerics, inputs(), threshold=threshold)["halted"])
                assert_same(found[-1], steps(LOGITS, threshold), f"steps at {threshold}")
        assert all((after >= before).all() for before, after in pairwise(found)), "fewer steps"


@pytest.mark.spec("HALT-3")
def test_the_loss_is_the_mean_cross_entropy_against_the_answer_of_the_same_step(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            result = run(port, HALT, numerics, inputs(), threshold=THRESHOLD)
            result.assert_close("losses", losses(result.inputs["logits"]))


@pytest.mark.spec("HALT-3")
def test_logits_of_ten_thousand_have_a_finite_loss(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            given = {"logits": np.array([[1e4], [-1e4], [1e4]]), "correct": np.array([[0], [1], [1]])}
            result = run(port, HALT, numerics, {**given, "least": np.ones(3, dtype=np.int64)}, threshold=0.5)
            expected = np.array([1e4, 1e4, 0.0])
            assert_close(result["losses"], expected, 1e-4, "loss of logits of 1e4")


@pytest.mark.spec("HALT-4")
def test_steps_that_are_not_made_may_hold_anything(port: Port) -> None:
    later = np.arange(1, 6) > np.maximum(steps(LOGITS), LEAST)[:, None]
    for numerics in precisions(port):
        for rubbish in (7.5, np.nan, -np.inf):
            with where_declared():
                spoiled = inputs(np.where(later, rubbish, LOGITS))
                weights = {"losses": np.ones(10)}
                result = run_with_gradients(port, HALT, numerics, spoiled, weights, threshold=THRESHOLD)
                result.assert_close("losses", losses(LOGITS))
                assert_same(result["grad.logits"][later], np.zeros(later.sum()), "gradients of steps that are not made")


@pytest.mark.spec("HALT-5")
def test_the_gradient_is_the_error_of_each_step_over_their_number(port: Port) -> None:
    weight = generator(3).uniform(0.5, 1.5, 10)
    made = np.maximum(steps(LOGITS), LEAST)[:, None]
    error = (1.0 / (1.0 + np.exp(-LOGITS)) - CORRECT) / made
    expected = weight[:, None] * np.where(np.arange(1, 6) <= made, error, 0.0)
    assert_gradients(port, HALT, inputs(), {"losses": weight}, {"logits": expected}, threshold=THRESHOLD)


@pytest.mark.spec("HALT-6")
def test_rows_are_independent(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            whole = run(port, HALT, numerics, inputs(), threshold=THRESHOLD)
            others = 1.5 * generator(4).standard_normal(LOGITS.shape)
            others[3] = LOGITS[3]
            among = run(port, HALT, numerics, inputs(others), threshold=THRESHOLD)
            for name in ("halted", "losses"):
                assert_close(among[name][3], whole[name][3], unchanged(whole, name), f"{name} of a row among others")
                assert not np.array_equal(among[name], whole[name]), f"{name} ignores the logits"
