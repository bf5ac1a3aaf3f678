"""docs/spec/trm.md: the loss of all answers, against its closed form."""

import numpy as np
import pytest

from spec_tests.contract.driver import precisions, run
from spec_tests.contract.properties import assert_gradients, representable
from spec_tests.drawing.inputs import generator
from spec_tests.port import Op, Port
from spec_tests.tally import where_declared

LOSS = Op.SUPERVISED_LOSS
INPUTS = representable(
    LOSS, {"losses": generator(1).uniform(0.5, 3.0, (3, 4)), "weights": np.array([0.25, 0.5, 0.75, 1.0])}
)


@pytest.mark.spec("TRM-7")
def test_the_loss_is_the_weighted_mean_of_those_of_the_answers(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            result = run(port, LOSS, numerics, INPUTS)
            result.assert_close("loss", result.inputs["losses"] @ result.inputs["weights"] / 2.5)


@pytest.mark.spec("TRM-7")
def test_the_gradient_of_each_answer_is_its_share_of_the_weights(port: Port) -> None:
    weight = generator(2).uniform(0.5, 1.5, 3)
    expected = np.outer(weight, INPUTS["weights"]) / 2.5
    assert_gradients(port, LOSS, INPUTS, {"loss": weight}, {"losses": expected})
