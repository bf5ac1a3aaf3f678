"""docs/spec/memory_window.md: what another document left may hold anything, infinities and NaN included."""

from collections.abc import Iterator

import pytest

from spec_tests.chapters.memory_step.calls import forms
from spec_tests.chapters.memory_step.covering import Size, few_cells, sized_call
from spec_tests.contract.sight import BEFORE, BORDER, assert_gradients_not_seen, assert_not_seen
from spec_tests.port import Array, Port, Scalar
from spec_tests.tally import where_declared

SIZE = Size(time=7, heads=2, features=3, values=2, window=4)


def questions() -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield a configuration and a call whose rows are those of `spec_tests.contract.sight`."""
    for config in few_cells()[:2]:
        yield config, sized_call(config, 77, SIZE, tuple(BEFORE.tolist()), ((0, BORDER),))


@pytest.mark.spec("WIN-2", "MEM-5")
def test_what_is_out_of_sight_may_hold_anything(port: Port) -> None:
    for op, numerics in forms(port):
        for config, inputs in questions():
            with where_declared():
                assert_not_seen(port, op, numerics, config, inputs)


@pytest.mark.long
@pytest.mark.spec("WIN-2", "MEM-5")
def test_gradients_are_finite_whatever_is_out_of_sight(port: Port) -> None:
    for op, numerics in forms(port):
        for config, inputs in questions():
            with where_declared():
                assert_gradients_not_seen(port, op, numerics, config, inputs, ("initial",), sequences=False)


@pytest.mark.long
@pytest.mark.spec("WIN-2", "MEM-5")
def test_gradients_of_a_document_are_finite_whatever_an_earlier_one_of_the_call_holds(port: Port) -> None:
    for op, numerics in forms(port):
        for config, inputs in questions():
            with where_declared():
                assert_gradients_not_seen(port, op, numerics, config, inputs)
