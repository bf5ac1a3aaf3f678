"""docs/spec/memory_hierarchical.md: what another document left may hold anything, infinities and NaN included."""

import pytest

from spec_tests.chapters.memory_hierarchical.calls import case, settings
from spec_tests.contract.driver import precisions
from spec_tests.contract.sight import BEFORE, assert_gradients_not_seen, assert_not_seen
from spec_tests.port import Array, Op, Port, Scalar
from spec_tests.tally import where_declared

CONFIG: dict[str, Scalar] = settings("titans", step_scale="mass")


def question() -> dict[str, Array]:
    """Return a call whose rows are those of `spec_tests.contract.sight`; the last shard of row 2 began before it."""
    lengths = {"batch": 3, "time": 6, "heads": 1, "features": 3, "values": 2}
    inputs = case(CONFIG, chunks=(2, 3), shards=(0, 12), seed=77, **lengths)
    inputs |= {"position": BEFORE.copy(), "reset": 0 * inputs["reset"]}
    inputs["reset"][0, 4] = 1
    return inputs


@pytest.mark.spec("HIER-3")
def test_what_is_out_of_sight_may_hold_anything(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_not_seen(port, Op.MEMORY_HIERARCHICAL, numerics, CONFIG, question())


@pytest.mark.spec("HIER-3")
def test_gradients_are_finite_whatever_is_out_of_sight(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_gradients_not_seen(port, Op.MEMORY_HIERARCHICAL, numerics, CONFIG, question())
