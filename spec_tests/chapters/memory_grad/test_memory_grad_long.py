"""docs/spec/memory_grad.md: calls longer than any block of a port's own loops, beside the loop."""

from collections.abc import Iterator

import pytest

from spec_tests.chapters.memory_step.calls import rule
from spec_tests.chapters.memory_step.covering import Size, sized_call
from spec_tests.contract.by_loops import assert_results, assert_slopes
from spec_tests.contract.driver import precisions
from spec_tests.port import Array, Op, Port, Scalar
from spec_tests.tally import where_declared

OP = Op.MEMORY_GRAD
SQUARE = Size(time=70, heads=1, features=3, values=3, window=3)


def questions() -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield rules and calls of seventy tokens that enter inside a chunk; no chunk begins after 16, 32 or 64 tokens."""
    for config in (rule("titans", step_scale="mass"), rule("omega", chunk=16, step_scale="mass")):
        yield config, sized_call(config, 904, SQUARE, (5,), ())
    config = rule("omega", "mlp", chunk=16, step_scale="mass")
    yield config, sized_call(config, 905, SQUARE, (5,), ((0, 3),))


def short_questions() -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield calls shorter than their window, which hands on pairs of before the call, and of a window of one token."""
    for name, window in (("omega", 6), ("atlas", 1), ("atlas_appendix", 1)):
        size = Size(time=3, heads=1, features=3, values=3, window=window)
        yield rule(name), sized_call(rule(name), 908, size, (7, 9), ((1, 1),))


@pytest.mark.spec("CALL-3", "MEM-7")
def test_a_call_of_many_blocks_is_that_of_the_loops(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in (*questions(), *short_questions()):
            with where_declared():
                assert_results(port, OP, numerics, config, inputs)


@pytest.mark.spec("GRAD-1", "GRAD-2", "GRAD-3")
def test_no_gradient_stops_between_two_blocks_of_a_call(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in questions():
            with where_declared():
                assert_slopes(port, OP, numerics, config, inputs, apart=False)
