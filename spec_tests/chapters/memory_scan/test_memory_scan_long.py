"""docs/spec/memory_scan.md and memory_grad.md: calls longer than any block of a port's own loops, beside the loop."""

from collections.abc import Iterator

import pytest

from spec_tests.chapters.memory_step.calls import forms, rule
from spec_tests.chapters.memory_step.covering import Size, sized_call
from spec_tests.contract.by_loops import assert_results, assert_slopes
from spec_tests.port import Array, Port, Scalar
from spec_tests.tally import where_declared


def questions() -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield rules and calls of seventy tokens that enter inside a chunk; no chunk begins after 16, 32 or 64 tokens."""
    square = Size(time=70, heads=1, features=3, values=3, window=3)
    for config in (rule("titans", step_scale="mass"), rule("omega", "mlp", chunk=16, step_scale="mass")):
        yield config, sized_call(config, 901, square, (5,), ((0, 3),))
        yield config, sized_call(config, 902, square, (5,), ())


@pytest.mark.long
@pytest.mark.spec("MEM-2", "MEM-7")
def test_a_call_of_many_blocks_is_that_of_the_loops(port: Port) -> None:
    for op, numerics in forms(port):
        for config, inputs in questions():
            with where_declared():
                assert_results(port, op, numerics, config, inputs)


@pytest.mark.long
@pytest.mark.spec("GRAD-1", "GRAD-2", "GRAD-3")
def test_no_gradient_stops_between_two_blocks_of_a_call(port: Port) -> None:
    for op, numerics in forms(port):
        for config, inputs in questions():
            with where_declared():
                assert_slopes(port, op, numerics, config, inputs, apart=False)


@pytest.mark.long
@pytest.mark.spec("GRAD-1", "GRAD-2", "GRAD-3")
def test_every_row_head_token_and_age_gets_its_own_gradient(port: Port) -> None:
    several = Size(time=5, heads=2, features=3, values=2, window=3)
    for op, numerics in forms(port):
        for config in (rule("omega", chunk=3), rule("omega", "mlp", chunk=3, step_scale="mass")):
            with where_declared():
                inputs = sized_call(config, 903, several, (7, 4, 0), ())
                assert_slopes(port, op, numerics, config, inputs, apart=True)
