"""docs/spec/mac.md: what another document left may hold anything, infinities and NaN included."""

import pytest

from spec_tests.chapters.mac.calls import MAC, call, config, unmarked
from spec_tests.contract.driver import precisions
from spec_tests.contract.sight import BEFORE, BORDER, assert_gradients_not_seen, assert_not_seen
from spec_tests.port import Array, Port
from spec_tests.tally import where_declared

KINDS = ("causal", "previous_segment", "learned")
SHARED = ("norm", "memory_projection", "gates_weight", "initial", "output", "row_output")


def begun() -> dict[str, Array]:
    """Return a call whose rows are those of `spec_tests.contract.sight`."""
    inputs = unmarked(call(41, tuple(BEFORE.tolist()), time=7))
    inputs["reset"][0, BORDER] = 1
    return inputs


@pytest.mark.spec("MAC-8")
def test_what_is_out_of_sight_may_hold_anything(port: Port) -> None:
    for numerics in precisions(port):
        for kind in KINDS:
            with where_declared():
                assert_not_seen(port, MAC, numerics, config(rows=kind), begun())


@pytest.mark.long
@pytest.mark.spec("MAC-8")
def test_gradients_are_finite_whatever_is_out_of_sight(port: Port) -> None:
    for numerics in precisions(port):
        for kind in KINDS:
            with where_declared():
                given = config(rows=kind)
                assert_gradients_not_seen(port, MAC, numerics, given, begun(), SHARED, sequences=False)


@pytest.mark.long
@pytest.mark.spec("MAC-8")
def test_gradients_of_a_document_are_finite_whatever_an_earlier_one_of_the_call_holds(port: Port) -> None:
    for numerics in precisions(port):
        for kind in KINDS:
            with where_declared():
                assert_gradients_not_seen(port, MAC, numerics, config(rows=kind), begun())
