"""docs/spec/miras_scan.md: calls longer than any block of a port's own loops, and gradients of every row and head."""

from collections.abc import Iterator
from itertools import product
from typing import Final

import pytest

from spec_tests.chapters.memory_step.covering import Size, sized_call
from spec_tests.chapters.miras_scan.calls import axes, both_forms, declared_forms, forms_in_turn, with_axes
from spec_tests.contract.by_loops import assert_results, assert_slopes
from spec_tests.contract.driver import in_turn
from spec_tests.contract.properties import representable
from spec_tests.port import Array, Op, Port, Scalar
from spec_tests.tally import where_declared

SIZE: Final = Size(time=70, heads=1, features=3, values=3, window=3)
SMALL: Final = Size(time=66, heads=1, features=2, values=2, window=2)
"""For gradients, which the loops of a port find one entry at a time."""


def questions(size: Size = SIZE) -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield a linear memory and one under a link, with long calls that enter inside a chunk."""
    for config in (axes(rule="titans", step_scale="mass"), axes(chunk=16, step_scale="mass", link="softmax")):
        yield config, with_axes(config, sized_call(config, 901, size, (5,), ()), 901)


@pytest.mark.spec("MEM-2", "MEM-7")
def test_a_call_of_many_blocks_is_that_of_the_loops(port: Port) -> None:
    for op, numerics in both_forms(port):
        for config, inputs in questions():
            with where_declared():
                assert_results(port, op, numerics, config, inputs)


@pytest.mark.spec("GRAD-1", "GRAD-2", "GRAD-3")
def test_no_gradient_stops_between_two_blocks_of_a_call(port: Port) -> None:
    for turn, (op, (config, inputs)) in enumerate(product(declared_forms(port), questions(SMALL))):
        with where_declared():
            given = representable(Op.MIRAS_SCAN, inputs)
            assert_slopes(port, op, in_turn(port, turn), config, given, apart=False)


@pytest.mark.spec("GRAD-1", "GRAD-2", "GRAD-3")
def test_every_row_and_head_gets_its_own_gradient(port: Port) -> None:
    several = Size(time=5, heads=2, features=4, values=3, window=3)
    config = axes(chunk=3, bias="huber_norm", link="lq", gate_axis="columns")
    for op, numerics in forms_in_turn(port):
        with where_declared():
            inputs = with_axes(config, sized_call(config, 903, several, (7, 4, 0), ()), 903)
            assert_results(port, op, numerics, config, inputs, factor=2.0)
            assert_slopes(port, op, numerics, config, inputs, apart=True)
