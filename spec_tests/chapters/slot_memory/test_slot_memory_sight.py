"""docs/spec/slot_memory.md: what another document left may hold anything, infinities and NaN included."""

from collections.abc import Iterator

import numpy as np
import pytest

from spec_tests.contract.driver import precisions
from spec_tests.contract.sight import assert_gradients_not_seen, assert_not_seen, places
from spec_tests.drawing.inputs import normal
from spec_tests.port import Array, Op, Port, Scalar
from spec_tests.tally import where_declared

OP = Op.SLOT_MEMORY


def questions() -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield a configuration and a call whose rows are those of `spec_tests.contract.sight`."""
    tokens = {"x": normal(1, 3, 9, 3), "slots": normal(3, 3, 3, 3), "position": places(3, 9)}
    yield {"threshold": 0.4}, {**tokens, "read_at": np.array([[3, -1, 4], [0, -1, -1], [3, 8, 5]])}


@pytest.mark.spec("SLOT-6")
def test_what_is_out_of_sight_may_hold_anything(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in questions():
            with where_declared():
                assert_not_seen(port, OP, numerics, config, inputs)


@pytest.mark.spec("SLOT-6")
def test_gradients_are_finite_whatever_is_out_of_sight(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in questions():
            with where_declared():
                assert_gradients_not_seen(port, OP, numerics, config, inputs)
