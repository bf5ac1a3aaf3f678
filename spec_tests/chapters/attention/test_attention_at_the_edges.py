"""Attention where a call is as short as it can be."""

import pytest

from spec_tests.chapters.attention.test_attention import OP, case
from spec_tests.contract.driver import assert_close, precisions, run
from spec_tests.port import Numerics, Port
from spec_tests.tally import where_declared


@pytest.mark.spec("ATT-5")
def test_a_call_without_tokens_hands_the_cache_on_as_it_came(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            result = run(port, OP, numerics, case(2, 0, 4, 2, seed=8), window=4)
            assert result["output"].shape[1] == 0, "an empty call has an output"
            for name in ("cache_keys", "cache_values"):
                # A port may keep the cache in its own precision.
                tolerance = 2.0**-8 if numerics is Numerics.BF16_IO else 0.0
                assert_close(result[name], result.inputs[name], tolerance, f"{name} after an empty call in {numerics}")
