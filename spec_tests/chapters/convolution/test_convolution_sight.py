"""docs/spec/convolution.md: what another document left may hold anything, infinities and NaN included."""

from collections.abc import Iterator

import pytest

from spec_tests.contract.driver import precisions
from spec_tests.contract.sight import assert_gradients_not_seen, assert_not_seen, places
from spec_tests.drawing.inputs import normal
from spec_tests.port import Array, Op, Port, Scalar
from spec_tests.tally import where_declared

OP = Op.SHORT_CONV


def questions() -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield a configuration and a call whose rows are those of `spec_tests.contract.sight`."""
    carried = {"weight": normal(2, 2, 4), "tail": normal(3, 3, 3, 2)}
    yield {}, {"x": normal(1, 3, 9, 2), **carried, "position": places(3, 9)}


@pytest.mark.spec("CONV-2")
def test_what_is_out_of_sight_may_hold_anything(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in questions():
            with where_declared():
                assert_not_seen(port, OP, numerics, config, inputs)


@pytest.mark.spec("CONV-2")
def test_gradients_are_finite_whatever_is_out_of_sight(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in questions():
            with where_declared():
                assert_gradients_not_seen(port, OP, numerics, config, inputs, ("weight",))
