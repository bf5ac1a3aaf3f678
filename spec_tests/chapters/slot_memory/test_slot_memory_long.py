"""docs/spec/slot_memory.md: a call longer and wider than any block of a port's own loops, beside the loops."""

from collections.abc import Iterator

import numpy as np
import pytest

from spec_tests.chapters.slot_memory.calls import call
from spec_tests.contract.by_loops import assert_results, assert_slopes
from spec_tests.contract.driver import precisions
from spec_tests.contract.properties import representable
from spec_tests.port import Array, Op, Port, Scalar
from spec_tests.tally import where_declared

OP = Op.SLOT_MEMORY
TIME = 70
FAR = np.array([[100], [32_740]]) + np.arange(TIME)
"""Positions that leave eight bits, and sixteen, inside the call."""


def questions(position: Array, width: int) -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield a configuration and a call of seventy tokens of this width, a row for each of `position`."""
    # Tokens are written, and slots replaced, all along the call.
    yield {"threshold": 0.5}, call(1, position, count=width + 1, dim=width)


@pytest.mark.spec("SLOT-4", "SLOT-7")
def test_a_call_of_many_blocks_is_that_of_the_loops(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in questions(FAR, 18):
            with where_declared():
                assert_results(port, OP, numerics, config, inputs)


@pytest.mark.spec("SLOT-9")
def test_no_gradient_stops_between_two_blocks_of_a_call(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in questions(FAR[:1], 2):
            with where_declared():
                assert_slopes(port, OP, numerics, config, representable(OP, inputs), apart=False)
