"""docs/spec/blocks.md: what another document left may hold anything, infinities and NaN included."""

from collections.abc import Iterator

import pytest

from spec_tests.chapters.blocks.calls import block_config
from spec_tests.chapters.blocks.covering import call
from spec_tests.contract.driver import precisions
from spec_tests.contract.sight import BEFORE, BORDER, assert_gradients_not_seen, assert_not_seen
from spec_tests.port import Array, Op, Port, Scalar
from spec_tests.tally import where_declared

OP = Op.MAG_BLOCK
SHARED = ("norm", "memory_projection", "gates_weight", "initial", "output")


def questions() -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield a configuration and a call whose rows are those of `spec_tests.contract.sight`."""
    for config in (block_config(projection="tnt"), block_config("atlas", "mlp", projection="frobenius_tanh")):
        inputs = call(OP, config, 9, tuple(BEFORE.tolist()), time=7)
        inputs["reset"] = 0 * inputs["reset"]
        inputs["reset"][0, BORDER] = 1
        yield config, inputs


@pytest.mark.spec("BLOCK-8")
def test_what_is_out_of_sight_may_hold_anything(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in questions():
            with where_declared():
                assert_not_seen(port, OP, numerics, config, inputs)


@pytest.mark.long
@pytest.mark.spec("BLOCK-8")
def test_gradients_are_finite_whatever_is_out_of_sight(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in questions():
            with where_declared():
                assert_gradients_not_seen(port, OP, numerics, config, inputs, SHARED, sequences=False)


@pytest.mark.spec("BLOCK-8")
def test_gradients_of_a_document_are_finite_whatever_an_earlier_one_of_the_call_holds(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in questions():
            with where_declared():
                assert_gradients_not_seen(port, OP, numerics, config, inputs)
