"""The model for many sets of parameters at once is the model of the chapters' loops."""

import numpy as np

from spec_tests.chapters.blocks.operation import MODEL
from spec_tests.chapters.lm.oracle import lm_forward
from spec_tests.chapters.step.calls import call
from spec_tests.chapters.step.forward import forward
from spec_tests.chapters.step.operation import PARAMETERS, STATES
from spec_tests.contract.driver import assert_close
from spec_tests.oracle.sums import FORWARD


def test_sets_of_parameters_at_once_give_what_the_loops_give_for_each() -> None:
    for heads, positions in ((1, (5, 2)), (2, (0, 4))):
        x = call(31, steps=1, time=7, heads=heads, positions=positions)
        tokens, reset = x["tokens"][0], x["reset"][0]
        sets = {tensor.name: np.stack([x[tensor.name], 1.1 * x[tensor.name]]) for tensor in PARAMETERS}
        states = {tensor.name: x[tensor.name] for tensor in STATES}
        logits, after, _ = forward(sets, states, tokens, reset, detached=False)
        for number in range(2):
            given = {
                **states,
                **{name: value[number] for name, value in sets.items()},
                "tokens": tokens,
                "reset": reset,
            }
            expected = lm_forward({**MODEL, "inner_grad": "full"}, given, FORWARD)
            assert_close(logits[number], expected["logits"], 1e-12, f"logits of set {number}")
            for name, value in after.items():
                found = value[number] if value.ndim > 1 else value
                assert_close(found, expected[name], 1e-12, f"{name} of set {number}")
