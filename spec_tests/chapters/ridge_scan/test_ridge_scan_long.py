"""docs/spec/ridge_scan.md: a call longer than any block of a port's own loops, beside the loop of the chapter."""

import numpy as np
import pytest

from spec_tests.chapters.ridge_scan.calls import case
from spec_tests.contract.by_loops import assert_results, assert_slopes
from spec_tests.contract.driver import precisions
from spec_tests.port import Array, Op, Port
from spec_tests.tally import where_declared


def question(*position: int) -> dict[str, Array]:
    """Return a call of seventy tokens inside documents, a row for each of `position`."""
    inputs = case(batch=len(position), time=70, heads=1, features=3, values=2, seed=901)
    return inputs | {"position": np.array(position), "reset": 0 * inputs["reset"]}


@pytest.mark.spec("RULE-14", "RULE-23")
def test_a_call_of_many_blocks_is_that_of_the_loops(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            # A position that leaves eight bits inside the call, and one that sixteen do not hold.
            assert_results(port, Op.RIDGE_SCAN, numerics, {}, question(100, 40_000))


@pytest.mark.spec("RULE-24")
def test_no_gradient_stops_between_two_blocks_of_a_call(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_slopes(port, Op.RIDGE_SCAN, numerics, {}, question(5), apart=False)
