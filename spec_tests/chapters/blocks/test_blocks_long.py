"""docs/spec/blocks.md: calls longer and wider than any block of a port's loops, beside the loops; every gradient."""

from collections.abc import Iterator

import pytest

from spec_tests.chapters.blocks.calls import block_config
from spec_tests.chapters.blocks.covering import call, lengths
from spec_tests.contract.by_loops import assert_results, assert_slopes
from spec_tests.contract.driver import precisions
from spec_tests.port import Array, Op, Port, Scalar
from spec_tests.tally import where_declared

OP = Op.MAG_BLOCK
SMALL = {"tokens": 1}
WIDE = block_config(projection="tnt", basis="elementwise")


def long_call() -> dict[str, Array]:
    """Return a row of seventy tokens, eighteen wide, that enters inside a chunk; no chunk begins after 16, 32 or 64."""
    sizes = lengths(WIDE, heads=1, key=2, values=18, degree=1, window=2, kernel=2) | SMALL
    inputs = call(OP, WIDE, 31, (5,), **{**sizes, "time": 70, "model": 18})
    return {**inputs, "reset": 0 * inputs["reset"]}


@pytest.mark.spec("BLOCK-1", "BLOCK-7")
def test_a_call_of_many_blocks_is_that_of_the_loops(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_results(port, OP, numerics, WIDE, long_call())


@pytest.mark.spec("BLOCK-10")
def test_no_gradient_stops_between_two_blocks_of_a_call(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_slopes(port, OP, numerics, WIDE, long_call(), apart=False)


def several() -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield three rows of two heads, the last at the start of its document, with three ages of every kind."""
    for config in (block_config("omega", projection="frobenius_tanh"), block_config("titans", "mlp", chunk=3)):
        sizes = lengths(config, heads=2, key=2, values=2, degree=2, window=3, kernel=3) | SMALL
        inputs = call(OP, config, 41, (9, 7, 0), time=3, **sizes)
        yield config, {**inputs, "reset": 0 * inputs["reset"]}


@pytest.mark.long
@pytest.mark.spec("BLOCK-10")
def test_every_row_head_and_age_gets_its_own_gradient(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in several():
            with where_declared():
                assert_slopes(port, OP, numerics, config, inputs, apart=True)
