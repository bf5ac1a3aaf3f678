"""docs/spec/act.md, against a loop and closed forms."""

from itertools import pairwise

import numpy as np
import pytest

from spec_tests.chapters.act.oracle import halt
from spec_tests.contract.driver import assert_close, assert_same, precisions, run
from spec_tests.contract.properties import assert_gradients, representable, unchanged
from spec_tests.drawing.inputs import central_difference, generator
from spec_tests.port import Array, Op, Port
from spec_tests.tally import where_declared

ACT = Op.ACT_HALT
CHANCES = representable(ACT, {"probabilities": generator(1).uniform(0.05, 0.4, (12, 6))})["probabilities"]
THRESHOLD = 0.7


def inputs(chances: Array = CHANCES) -> dict[str, Array]:
    return {"probabilities": chances}


@pytest.mark.spec("ACT-1")
def test_a_row_halts_where_its_probabilities_add_up_to_the_threshold(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            for threshold in (0.1, THRESHOLD, 0.99, 5.0):
                with where_declared():
                    result = run(port, ACT, numerics, inputs(), threshold=threshold)
                    halted, _, _ = halt(result.inputs["probabilities"], threshold)
                    assert_same(result["halted"], halted, f"steps at threshold {threshold}")
                    assert_close(result["weights"].sum(-1), np.ones(len(CHANCES)), 1e-6, "sum of the weights")
            exact = run(port, ACT, numerics, inputs(np.full((1, 4), 0.25)), threshold=0.5)
            assert_same(exact["halted"], np.array([2]), "steps of a sum that is exactly the threshold")


@pytest.mark.spec("ACT-2")
def test_a_higher_threshold_never_means_fewer_steps(port: Port) -> None:
    for numerics in precisions(port):
        steps = []
        for threshold in (0.1, 0.3, 0.5, 0.8, 1.2):
            with where_declared():
                result = run(port, ACT, numerics, inputs(), threshold=threshold)
                halted, weights, _ = halt(result.inputs["probabilities"], threshold)
                assert_same(result["halted"], halted, f"steps at threshold {threshold}")
                result.assert_close("weights", weights)
                steps.append(result["halted"])
        assert all((after >= before).all() for before, after in pairwise(steps)), "fewer steps"
        assert (steps[-1] > steps[0]).all(), "the threshold changes nothing"


@pytest.mark.spec("ACT-3")
def test_weights_are_probabilities_then_the_remainder(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            result = run(port, ACT, numerics, inputs(), threshold=THRESHOLD)
            result.assert_close("weights", halt(result.inputs["probabilities"], THRESHOLD)[1])
            assert_close(result["weights"].sum(-1), np.ones(len(CHANCES)), 1e-6, "sum of the weights")


@pytest.mark.spec("ACT-4")
def test_the_cost_counts_steps_and_remainder_and_can_be_learned(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            result = run(port, ACT, numerics, inputs(), threshold=THRESHOLD)
            result.assert_close("ponder", halt(result.inputs["probabilities"], THRESHOLD)[2])
    weight = generator(2).uniform(0.5, 1.5, len(CHANCES))
    before = np.arange(1, CHANCES.shape[1] + 1) < halt(CHANCES, THRESHOLD)[0][:, None]
    expected = {"probabilities": -weight[:, None] * before}
    assert_gradients(port, ACT, inputs(), {"ponder": weight}, expected, threshold=THRESHOLD)


@pytest.mark.spec("ACT-5")
def test_the_gradient_of_the_weights_reaches_the_probabilities(port: Port) -> None:
    weight = generator(3).standard_normal(CHANCES.shape)
    slope = central_difference(lambda x: float((halt(x, THRESHOLD)[1] * weight).sum()), CHANCES)
    assert_gradients(port, ACT, inputs(), {"weights": weight}, {"probabilities": slope}, threshold=THRESHOLD)


@pytest.mark.spec("ACT-6")
def test_rows_are_independent(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            whole = run(port, ACT, numerics, inputs(), threshold=THRESHOLD)
            others = generator(4).uniform(0.3, 0.9, CHANCES.shape)
            others[3] = CHANCES[3]
            among = run(port, ACT, numerics, inputs(others), threshold=THRESHOLD)
            for name in ("halted", "weights", "ponder"):
                assert_close(among[name][3], whole[name][3], unchanged(whole, name), f"{name} of a row among others")
                assert not np.array_equal(among[name], whole[name]), f"{name} ignores the probabilities"
