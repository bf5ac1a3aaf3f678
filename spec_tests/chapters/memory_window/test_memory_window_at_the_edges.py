"""The window where a document begins in the middle of a call."""

import numpy as np
import pytest

from spec_tests.chapters.memory_step.calls import assert_loop, case, forms, rule
from spec_tests.contract.driver import assert_close, run
from spec_tests.contract.properties import unchanged
from spec_tests.port import Port
from spec_tests.tally import where_declared


@pytest.mark.spec("WIN-2")
def test_pairs_of_the_document_before_never_count(port: Port) -> None:
    for op, numerics in forms(port):
        for config in (rule("omega"), rule("titans", "mlp", chunk=2)):
            with where_declared():
                inputs = case(config, time=6, window=4, seed=13)
                inputs |= {"position": np.array([9, 5]), "reset": np.array([[0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0]])}
                foreign = {name: inputs[name].copy() for name in ("keys", "values")}
                for row, start in ((0, 2), (1, 4)):
                    for name in foreign:
                        foreign[name][row, :start] = 3.0 - foreign[name][row, :start]
                before = run(port, op, numerics, inputs, **config)
                after = run(port, op, numerics, {**inputs, **foreign}, **config)
                for row, start in ((0, 2), (1, 4)):
                    what = f"{op} reads of {config['rule']} in row {row} in {numerics}"
                    moved, kept = after["reads"][row, start:], before["reads"][row, start:]
                    assert_close(moved, kept, unchanged(before, "reads"), what)
                assert_loop(before, config)
