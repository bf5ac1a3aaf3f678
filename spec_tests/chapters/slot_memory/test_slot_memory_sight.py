"""docs/spec/slot_memory.md: what another document left may hold anything, infinities and NaN included."""

from collections.abc import Iterator

import numpy as np
import pytest

from spec_tests.contract.driver import assert_close, precisions, run
from spec_tests.contract.properties import run_in_pieces
from spec_tests.contract.sight import assert_gradients_not_seen, assert_not_seen, places
from spec_tests.drawing.inputs import normal
from spec_tests.port import Array, Op, Port, Scalar
from spec_tests.tally import where_declared

OP = Op.SLOT_MEMORY


def questions() -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield a configuration and a call whose rows are those of `spec_tests.contract.sight`."""
    tokens = {"x": normal(1, 3, 9, 3), "slots": normal(3, 3, 3, 3), "position": places(3, 9)}
    yield {"threshold": 0.4}, {**tokens, "read_at": np.array([[3, -1, 4], [0, -1, -1], [3, 8, 5]])}


@pytest.mark.spec("SLOT-6")
def test_what_is_out_of_sight_may_hold_anything(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in questions():
            with where_declared():
                assert_not_seen(port, OP, numerics, config, inputs)


@pytest.mark.spec("SLOT-6")
def test_gradients_are_finite_whatever_is_out_of_sight(port: Port) -> None:
    for numerics in precisions(port):
        for config, inputs in questions():
            with where_declared():
                assert_gradients_not_seen(port, OP, numerics, config, inputs)


@pytest.mark.spec("SLOT-7")
def test_a_token_that_is_no_number_spoils_the_same_reads_however_the_sequence_is_cut(port: Port) -> None:
    """It begins a document, so it is written, and no later token of this call can take its slot: there are others."""
    inputs = {"x": normal(5, 2, 5, 3), "slots": normal(6, 2, 6, 3), "read_at": np.full((2, 6), 3)}
    inputs["position"] = np.stack([np.array([8, 0, 1, 2, 3]), 8 + np.arange(5)])
    inputs["x"][0, 1] = np.nan
    spoilt = [[False, True, True, True, True], [False] * 5]
    for numerics in precisions(port):
        with where_declared():
            whole = run(port, OP, numerics, inputs, threshold=0.4)
            assert np.isnan(whole["y"]).all(-1).tolist() == spoilt, "a slot that holds no number is in use"
            for cut in (2, 3):
                parts = run_in_pieces(port, OP, numerics, inputs, [slice(cut), slice(cut, 5)], threshold=0.4)
                assert np.isnan(parts["y"]).all(-1).tolist() == spoilt, f"a call that ends after {cut} tokens forgets"
                same = whole.tolerance("y")
                assert_close(parts["y"][1], whole["y"][1], same, f"reads of the row beside it, cut after {cut} tokens")
