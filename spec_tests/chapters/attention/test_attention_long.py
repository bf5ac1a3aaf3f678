"""docs/spec/attention.md: a call longer and wider than any block of a port's own loops, beside the loops."""

from collections.abc import Iterator

import numpy as np
import pytest

from spec_tests.contract.by_loops import assert_results, assert_slopes
from spec_tests.contract.driver import precisions
from spec_tests.drawing.inputs import normal
from spec_tests.port import Array, Op, Port, Scalar
from spec_tests.tally import where_declared

OP = Op.SLIDING_WINDOW_ATTENTION
TIME = 70
FAR = np.array([[100], [32_740]]) + np.arange(TIME)
"""Positions that leave eight bits, and sixteen, inside the call."""


def questions(position: Array, width: int) -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield a configuration and a call of seventy tokens of this width, a row for each of `position`."""
    rows = len(position)
    tokens = {name: normal(i, rows, TIME, 1, width) for i, name in enumerate(("queries", "keys", "values"))}
    persistent = {f"persistent_{name}": normal(4 + i, 2, 1, width) for i, name in enumerate(("keys", "values"))}
    for window in (6, 75):
        cache = {
            f"cache_{name}": normal(7 + i, rows, window - 1, 1, width) for i, name in enumerate(("keys", "values"))
        }
        yield {"window": window}, {**tokens, **persistent, **cache, "position": position}


@pytest.mark.spec("ATT-1", "ATT-5")
def test_a_call_of_many_blocks_is_that_of_the_loops(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in questions(FAR, 18):
            with where_declared():
                assert_results(port, OP, numerics, config, inputs)


@pytest.mark.spec("ATT-8")
def test_no_gradient_stops_between_two_blocks_of_a_call(port: Port) -> None:
    for numerics in precisions(port):
        config, inputs = next(questions(FAR[:1], 1))
        with where_declared():
            assert_slopes(port, OP, numerics, config, inputs, apart=False)
