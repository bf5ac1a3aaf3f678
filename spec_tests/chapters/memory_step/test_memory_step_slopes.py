"""docs/spec/memory_grad.md, of one token: what each row and head passes back, beside the loop."""

import pytest

from spec_tests.chapters.memory_step.calls import rule
from spec_tests.chapters.memory_step.covering import Size, sized_call
from spec_tests.chapters.memory_step.stored_calls import step
from spec_tests.contract.by_loops import assert_results, assert_slopes
from spec_tests.contract.driver import precisions
from spec_tests.port import Op, Port
from spec_tests.tally import where_declared

OP = Op.MEMORY_STEP
SIZE = Size(time=1, heads=2, features=3, values=2, window=3)
CONFIGS = (rule("omega", chunk=3), rule("omega", "mlp", chunk=3, step_scale="mass"))


@pytest.mark.spec("MEM-2", "MEM-7")
def test_a_step_from_numbers_of_any_precision_is_that_of_the_loop(port: Port) -> None:
    for numerics in precisions(port):
        for config in CONFIGS:
            with where_declared():
                assert_results(port, OP, numerics, config, step(sized_call(config, 906, SIZE, (7, 4, 0), ())))


@pytest.mark.spec("GRAD-1", "GRAD-2", "GRAD-3")
def test_every_row_head_and_age_gets_its_own_gradient(port: Port) -> None:
    for numerics in precisions(port):
        for config in CONFIGS:
            with where_declared():
                inputs = step(sized_call(config, 906, SIZE, (7, 4, 0), ()))
                assert_slopes(port, OP, numerics, config, inputs, apart=True)
