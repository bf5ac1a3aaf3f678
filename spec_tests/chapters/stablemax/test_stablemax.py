"""docs/spec/stablemax.md, against a loop and central differences."""

import numpy as np
import pytest

from spec_tests.chapters.stablemax.oracle import stablemax
from spec_tests.contract.driver import assert_close, precisions, run
from spec_tests.contract.properties import assert_gradients, assert_rows_independent, representable
from spec_tests.drawing.inputs import central_difference, generator
from spec_tests.port import Op, Port
from spec_tests.tally import where_declared

STABLEMAX = Op.STABLEMAX
LOGITS = 3.0 * generator(1).standard_normal((4, 6))


@pytest.mark.spec("STAB-1")
def test_probabilities_are_proportional_to_the_two_branches(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            result = run(port, STABLEMAX, numerics, {"x": LOGITS})
            result.assert_close("probabilities", stablemax(result.inputs["x"]))


@pytest.mark.spec("STAB-2")
def test_a_small_logit_keeps_its_share(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            result = run(port, STABLEMAX, numerics, {"x": np.array([[0.0, -1e6, -1e3]])})
            ratio = result["probabilities"] / result["probabilities"][:, :1]
            assert_close(ratio[:, 1], np.array([1 / (1 - result.inputs["x"][0, 1])]), 1e-2, "share of a logit of -1e6")
            assert_close(ratio[:, 2], np.array([1 / (1 - result.inputs["x"][0, 2])]), 1e-2, "share of a logit of -1e3")


@pytest.mark.spec("STAB-3")
def test_huge_logits_give_finite_probabilities_that_sum_to_one(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            x = np.array([[1e30, -1e30, 2.0], [3e38, 3e38, 3e38], [-1e30, -1e30, -1e30]])
            result = run(port, STABLEMAX, numerics, {"x": x})
            assert np.isfinite(result["probabilities"]).all(), "not finite"
            assert_close(result["probabilities"].sum(-1), np.ones(3), 1e-2, "sum of the probabilities")


@pytest.mark.spec("STAB-4")
def test_the_gradient_is_that_of_the_formula_at_zero_and_one_too(port: Port) -> None:
    inputs = representable(STABLEMAX, {"x": LOGITS})
    weight = generator(2).standard_normal(LOGITS.shape)
    slope = central_difference(lambda x: float((stablemax(x) * weight).sum()), inputs["x"])
    assert_gradients(port, STABLEMAX, inputs, {"probabilities": weight}, {"x": slope})
    # s = (1, 2, 1/2), s' = (1, 1, 1/4): d p_0 / d x_j = (delta_0j - p_0) s'_j / sum s.
    expected = np.array([[(1 - 2 / 7) / 3.5, -(2 / 7) / 3.5, -(2 / 7) * 0.25 / 3.5]])
    edges = {"x": np.array([[0.0, 1.0, -1.0]])}
    assert_gradients(port, STABLEMAX, edges, {"probabilities": np.array([[1.0, 0.0, 0.0]])}, {"x": expected})


@pytest.mark.spec("STAB-5")
def test_each_vector_stands_alone(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_rows_independent(port, STABLEMAX, numerics, {"x": LOGITS})
