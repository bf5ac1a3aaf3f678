"""docs/spec/blocks.md: persistent tokens that are written before every document, beside the loops."""

import pytest

from spec_tests.chapters.blocks.calls import block_config, case
from spec_tests.chapters.blocks.covering import call, cell_lengths, few_cells
from spec_tests.contract.by_loops import assert_results, assert_slopes
from spec_tests.contract.driver import precisions
from spec_tests.contract.properties import assert_any_split_agrees
from spec_tests.drawing.inputs import splits
from spec_tests.port import Op, Port
from spec_tests.tally import where_declared

BLOCK = Op.MAG_BLOCK
CONFIGS = (
    block_config(persistent_in_memory=True),
    block_config("titans", "mlp", gate="source", projection="tnt", persistent_in_memory=True),
)


@pytest.mark.long
@pytest.mark.spec("BLOCK-11")
def test_documents_begin_with_what_the_persistent_tokens_leave(port: Port) -> None:
    for numerics in precisions(port):
        for number, config in enumerate(CONFIGS):
            # Beyond a chunk of four, none at all, and fewer than the window of the Omega loss.
            for tokens in (5, 0, 1):
                with where_declared():
                    assert_results(port, BLOCK, numerics, config, case(BLOCK, config, 31 + number, tokens=tokens))
        for number, cell in enumerate(few_cells()):
            with where_declared():
                config = {**cell, "persistent_in_memory": True}
                inputs = call(BLOCK, config, 41 + number, (5, 0), time=5, **cell_lengths(config, number))
                assert_results(port, BLOCK, numerics, config, inputs)


@pytest.mark.spec("BLOCK-7", "BLOCK-11")
def test_any_split_gives_the_same_results_where_persistent_tokens_are_written(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_any_split_agrees(port, BLOCK, numerics, case(BLOCK, CONFIGS[0], 33), splits(9, 8), **CONFIGS[0])


@pytest.mark.spec("BLOCK-10", "BLOCK-11")
def test_first_memory_and_persistent_tokens_learn_through_what_is_written(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            # Under seed 34 the gradient of the coefficient nearly cancels, and bfloat16 does not hold what is left.
            inputs = case(BLOCK, CONFIGS[0], 35, batch=1, time=5, tokens=3)
            assert_slopes(port, BLOCK, numerics, CONFIGS[0], inputs, apart=True)
