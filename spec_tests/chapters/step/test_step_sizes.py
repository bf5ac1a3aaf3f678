"""docs/spec/step.md over many heads, wide ones, and documents far from their start, beside the loops."""

from collections.abc import Iterator

import pytest

from spec_tests.chapters.step.calls import CONFIG, call
from spec_tests.contract.by_loops import assert_results
from spec_tests.contract.driver import precisions
from spec_tests.port import Array, Op, Port
from spec_tests.tally import where_declared


def questions() -> Iterator[dict[str, Array]]:
    """Yield one step of one token whose target begins a document: no derivative is taken, which would take long.

    Rows are where eight bits, a table and sixteen bits end, and at the start of a document.
    """
    far = (300, 40_000, 0, 70, 1)
    yield call(33, steps=1, time=1, positions=far, heads=5, key=3, values=4, window=3, kernel=3, tokens=2)
    yield call(34, steps=1, time=1, positions=far, key=18, values=18, window=3, kernel=3, tokens=2)


@pytest.mark.spec("STEP-1", "STEP-5")
def test_where_nothing_is_learned_states_of_every_size_go_on(port: Port) -> None:
    for inputs in questions():
        inputs["reset"][:] = 0
        inputs["reset"][..., 1] = 1
        for numerics in precisions(port):
            with where_declared():
                assert_results(port, Op.TRAIN_STEPS, numerics, CONFIG, inputs)
