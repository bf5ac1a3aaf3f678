"""docs/spec/marks.md: what began before a mark may hold anything, infinities and NaN included."""

import numpy as np
import pytest

from spec_tests.chapters.marks.calls import config, marked, unmarked
from spec_tests.chapters.marks.test_marks import MARKS
from spec_tests.contract.by_loops import assert_answers
from spec_tests.contract.driver import assert_close, precisions, run
from spec_tests.contract.properties import unchanged
from spec_tests.contract.sight import BEFORE, BORDER, assert_gradients_not_seen, assert_not_seen
from spec_tests.port import Array, Port
from spec_tests.tally import where_declared

SHARED = ("norm", "memory_projection", "gates_weight", "initial", "output")


def begun() -> dict[str, Array]:
    """Return a call whose rows are those of `spec_tests.contract.sight`: both parts begin where one does."""
    inputs = unmarked(marked(21, batch=3, time=7))
    inputs["position"] = inputs["context"] = BEFORE.copy()
    for name in ("reset_context", "reset_memory"):
        inputs[name][0, BORDER] = 1
    return inputs


@pytest.mark.spec("MARK-1", "MARK-3")
def test_what_is_out_of_sight_may_hold_anything(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_not_seen(port, MARKS, numerics, config(), begun())


@pytest.mark.spec("MARK-1", "MARK-3")
def test_gradients_are_finite_whatever_is_out_of_sight(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_gradients_not_seen(port, MARKS, numerics, config(), begun(), SHARED, sequences=False)


@pytest.mark.spec("MARK-1", "MARK-3")
def test_gradients_of_a_document_are_finite_whatever_an_earlier_one_of_the_call_holds(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_gradients_not_seen(port, MARKS, numerics, config(), begun())


@pytest.mark.spec("MARK-1")
def test_what_a_context_no_longer_sees_may_hold_anything_while_the_memory_is_handed_on(port: Port) -> None:
    inputs = unmarked(marked(22))
    inputs["reset_context"][:, 0] = 1
    for numerics in precisions(port):
        with where_declared():
            plain = run(port, MARKS, numerics, inputs, **config())
            assert_answers(plain, config())
            for garbage in (np.inf, np.nan):
                bad = {name: np.full_like(inputs[name], garbage) for name in ("cache_keys", "cache_values", "tail")}
                among = run(port, MARKS, numerics, {**inputs, **bad}, **config())
                for name, expected in plain.outputs.items():
                    assert_close(
                        among[name], expected, unchanged(plain, name), f"{name} sees {garbage} of another context"
                    )
