"""docs/spec/memory_checkpoint.md: an interrupted call longer than any block of a port's own loops, beside the loop."""

import pytest

from spec_tests.chapters.memory_step.calls import rule
from spec_tests.chapters.memory_step.covering import Size, sized_call
from spec_tests.contract.by_loops import assert_results
from spec_tests.contract.driver import precisions
from spec_tests.port import Op, Port
from spec_tests.tally import where_declared

SIZE = Size(time=70, heads=1, features=3, values=2, window=3)


@pytest.mark.long
@pytest.mark.spec("CKPT-1", "CKPT-2")
def test_a_call_of_many_blocks_is_that_of_the_loops(port: Port) -> None:
    for numerics in precisions(port):
        for split, config in ((0, rule("titans", step_scale="mass")), (9, rule("omega", "mlp", step_scale="mass"))):
            with where_declared():
                inputs = sized_call(config, 907, SIZE, (5,), ())
                assert_results(port, Op.CHECKPOINT_ROUND_TRIP, numerics, {**config, "split": split}, inputs)


@pytest.mark.spec("CKPT-1", "CKPT-2")
def test_a_window_longer_than_the_call_comes_back_as_it_went(port: Port) -> None:
    config = rule("omega")
    for numerics in precisions(port):
        with where_declared():
            inputs = sized_call(config, 909, Size(time=3, heads=1, features=3, values=2, window=6), (7, 9), ())
            assert_results(port, Op.CHECKPOINT_ROUND_TRIP, numerics, {**config, "split": 1}, inputs)
