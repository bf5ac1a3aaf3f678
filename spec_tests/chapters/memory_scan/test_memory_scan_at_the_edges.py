"""The memory over a call without tokens, and a state that is no number."""

import numpy as np
import pytest

from spec_tests.chapters.memory_step.calls import case, forms, rule, tokens
from spec_tests.chapters.memory_step.loop import STATE
from spec_tests.contract.driver import assert_same, run
from spec_tests.port import Port
from spec_tests.tally import where_declared


@pytest.mark.spec("MEM-7")
def test_a_call_without_tokens_returns_its_state_whatever_it_holds(port: Port) -> None:
    config = rule("atlas", "mlp")
    for op, numerics in forms(port):
        with where_declared():
            inputs = tokens(case(config, time=3, window=4, seed=12), slice(0, 0))
            for name in STATE[:-1]:
                inputs[name] = inputs[name].copy()
                inputs[name][0, ..., 0], inputs[name][1, ..., -1] = np.inf, -np.inf
            result = run(port, op, numerics, inputs, **config)
            for name in STATE:
                what = f"{op} {name} after an empty call in {numerics}"
                assert_same(result[name], result.inputs[name], what)
