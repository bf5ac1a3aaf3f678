"""docs/spec/miras_scan.md: what another document left may hold anything, infinities and NaN included."""

from collections.abc import Iterator
from typing import Final

import pytest

from spec_tests.chapters.memory_step.covering import Size, sized_call
from spec_tests.chapters.miras_scan.calls import axes, both_forms, forms_in_turn, with_axes
from spec_tests.contract.sight import BEFORE, assert_gradients_not_seen, assert_not_seen
from spec_tests.port import Array, Port, Scalar
from spec_tests.tally import where_declared

SIZE: Final = Size(time=5, heads=1, features=3, values=2, window=2)


def questions() -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield a configuration and a call whose rows are those of `spec_tests.contract.sight`."""
    for config in (
        axes(rule="titans", link="softmax", bias="huber_norm", gate_axis="rows"),
        axes(architecture="mlp_glu", link="lq", bias="robust", read="pre"),
    ):
        inputs = sized_call({**config, "architecture": "matrix"}, 77, SIZE, tuple(BEFORE.tolist()), ((0, 4),))
        yield config, with_axes(config, inputs, 77, hidden=2)


@pytest.mark.spec("MEM-5", "WIN-2")
def test_what_is_out_of_sight_may_hold_anything(port: Port) -> None:
    for op, numerics in both_forms(port):
        for config, inputs in questions():
            with where_declared():
                assert_not_seen(port, op, numerics, config, inputs)


@pytest.mark.spec("MEM-5", "WIN-2")
def test_gradients_are_finite_whatever_is_out_of_sight(port: Port) -> None:
    for op, numerics in forms_in_turn(port):
        config, inputs = next(questions())
        with where_declared():
            assert_gradients_not_seen(port, op, numerics, config, inputs, ("initial",), sequences=False)


@pytest.mark.spec("MEM-5", "WIN-2")
def test_gradients_of_a_document_are_finite_whatever_an_earlier_one_of_the_call_holds(port: Port) -> None:
    for op, numerics in both_forms(port):
        config, inputs = next(questions())
        with where_declared():
            assert_gradients_not_seen(port, op, numerics, config, inputs)
