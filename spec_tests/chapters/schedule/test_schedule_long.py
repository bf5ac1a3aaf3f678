"""docs/spec/schedule.md: long, wide and distant rows beside the loops; every gradient."""

from collections.abc import Iterator

import numpy as np
import pytest

from spec_tests.chapters.schedule.calls import Question, call, config
from spec_tests.chapters.schedule.test_schedule import SCHEDULE
from spec_tests.contract.by_loops import assert_results, assert_slopes
from spec_tests.contract.driver import precisions
from spec_tests.contract.properties import representable
from spec_tests.port import Port
from spec_tests.tally import where_declared


def long_row(width: int = 18) -> Question:
    """Return a row of seventy tokens, so wide, from beyond position 100,000; most borders lie in the call.

    Chunks begin at the tokens 3, 13, .. and borders of shards at 3 and 43, so that blocks of 16, 32 and 64 tokens end
    inside chunks that begin with a memory of their own, before the write.
    """
    asked = config(5, 40, chunk=10)
    sizes = {"batch": 1, "heads": 1, "features": width, "values": width, "window": 3}
    inputs = call(asked, 101, time=70, position=(100_037,), **sizes)
    return asked, {**inputs, "reset": 0 * inputs["reset"]}


def questions() -> Iterator[Question]:
    """Yield a long row, a dozen documents in a row, and five heads of six rows."""
    yield long_row()
    asked = config(3, 4)
    inputs = call(asked, 102, time=66, heads=1)
    inputs["reset"][1] = np.arange(66) % 5 == 2
    yield asked, inputs
    asked = config(2, 8, "chunk")
    yield asked, call(asked, 103, batch=6, heads=5, time=3)


@pytest.mark.spec("TTL-1", "TTL-2", "SHARD-1", "SHARD-2", "SHARD-3")
def test_long_wide_and_distant_rows_are_those_of_the_loops(port: Port) -> None:
    for numerics in precisions(port):
        for asked, inputs in questions():
            with where_declared():
                assert_results(port, SCHEDULE, numerics, asked, inputs)


@pytest.mark.spec("SHARD-5")
def test_no_gradient_stops_between_two_blocks_of_a_call(port: Port) -> None:
    # Without shards one memory runs from end to end; the loops of a port find its gradients one entry at a time.
    inputs = representable(SCHEDULE, long_row(width=3)[1])
    for numerics in precisions(port):
        with where_declared():
            assert_slopes(port, SCHEDULE, numerics, config(5, 0, chunk=10), inputs, apart=False)
