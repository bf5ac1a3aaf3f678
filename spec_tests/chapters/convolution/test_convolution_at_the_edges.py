"""The short convolution where a call is as short as it can be."""

import pytest

from spec_tests.chapters.convolution.test_convolution import OP, case
from spec_tests.contract.driver import assert_same, precisions, run
from spec_tests.port import Port
from spec_tests.tally import where_declared


@pytest.mark.spec("CONV-3")
def test_a_call_without_tokens_hands_the_tail_on_as_it_came(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            result = run(port, OP, numerics, case(2, 0, 4, seed=8))
            assert result["y"].shape[1] == 0, "an empty call has an output"
            assert_same(result["tail"], result.inputs["tail"], f"tail after an empty call in {numerics}")
