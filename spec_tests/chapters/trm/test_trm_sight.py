"""docs/spec/trm.md: what another document holds may be anything, infinities and NaN included."""

from collections.abc import Iterator

import pytest

from spec_tests.chapters.trm.calls import trm_inputs
from spec_tests.contract.driver import precisions
from spec_tests.contract.sight import assert_gradients_not_seen, assert_not_seen, places
from spec_tests.port import Array, Op, Port, Scalar
from spec_tests.tally import where_declared

OP = Op.TRM_RECURSION


def questions() -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield a configuration and a call whose rows are those of `spec_tests.contract.sight`."""
    settings: dict[str, Scalar] = {"micro_steps": 1, "recursions": 1, "no_grad_recursions": 0, "norm_eps": 0.1}
    yield {**settings, "window": 4}, trm_inputs(1, places(3, 7))


@pytest.mark.spec("TRM-4")
def test_what_is_out_of_sight_may_hold_anything(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in questions():
            with where_declared():
                assert_not_seen(port, OP, numerics, config, inputs)


@pytest.mark.spec("TRM-4")
def test_gradients_are_finite_whatever_is_out_of_sight(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in questions():
            with where_declared():
                assert_gradients_not_seen(port, OP, numerics, config, inputs)
