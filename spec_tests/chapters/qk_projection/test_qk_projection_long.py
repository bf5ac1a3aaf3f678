"""docs/spec/qk_projection.md: a call longer and wider than any block of a port's own loops, beside the loops."""

from collections.abc import Iterator

import numpy as np
import pytest

from spec_tests.contract.by_loops import assert_results, assert_slopes
from spec_tests.contract.driver import precisions
from spec_tests.drawing.inputs import normal
from spec_tests.port import Array, Op, Port, Scalar
from spec_tests.tally import where_declared

OP = Op.QK_PROJECTION
TIME = 70
FAR = np.array([[100], [32_740]]) + np.arange(TIME)
"""Positions that leave eight bits, and sixteen, inside the call."""


def questions(position: Array, width: int) -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield a configuration and a call of seventy tokens of this width, a row for each of `position`."""
    rows = len(position)
    tokens = {"queries": normal(1, rows, TIME, 1, width), "keys": normal(2, rows, TIME, 1, width)}
    yield {}, {**tokens, "carry": normal(3, rows, 1, width, width), "position": position}


@pytest.mark.spec("QK-1", "QK-4")
def test_a_call_of_many_blocks_is_that_of_the_loops(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in questions(FAR, 18):
            with where_declared():
                assert_results(port, OP, numerics, config, inputs)


@pytest.mark.spec("QK-9")
def test_no_gradient_stops_between_two_blocks_of_a_call(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in questions(FAR[:1], 2):
            with where_declared():
                assert_slopes(port, OP, numerics, config, inputs, apart=False)


@pytest.mark.spec("QK-10")
def test_a_gate_of_many_entries_bounds_each(port: Port) -> None:
    wide = {"projected": normal(11, 2, 3, 1, 18), "log_gain": 0.3 * normal(12, 1, 18), "scale": normal(13, 1, 18)}
    inputs = {**wide, "frobenius": np.abs(normal(14, 2, 3, 1)) + 0.3}
    for numerics in precisions(port):
        with where_declared():
            assert_results(port, Op.QK_GATE, numerics, {}, inputs)
