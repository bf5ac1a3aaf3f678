"""docs/spec/lmm.md: long and wide calls beside the loops, and what another document left."""

from collections.abc import Iterator

import pytest

from spec_tests.chapters.lmm.test_lmm import CONFIGS, LMM
from spec_tests.chapters.mal.calls import call, unmarked
from spec_tests.contract.by_loops import assert_results, assert_slopes
from spec_tests.contract.driver import precisions
from spec_tests.contract.sight import BEFORE, BORDER, assert_gradients_not_seen, assert_not_seen
from spec_tests.port import Array, Port
from spec_tests.tally import where_declared

SMALL = {"tokens": 1, "window": 2, "kernel": 2}
SHARED = ("memory_projection", "gates_weight", "initial", "output")


def long_call() -> dict[str, Array]:
    """Return a row of seventy tokens, eighteen wide, that enters inside a chunk."""
    return unmarked(call(LMM, 31, (7,), heads=1, key=2, values=18, time=70, **SMALL))


def questions() -> Iterator[dict[str, Array]]:
    """Yield a dozen documents, rows from afar, many heads and rows, one head of several rows, and one long document."""
    documents = long_call()
    documents["reset"][0, 2::5] = 1
    yield documents
    yield call(LMM, 32, (1, 100_003), span=5, heads=1, key=17, values=4, time=5, **SMALL)
    yield call(LMM, 33, (0, 1, 7, 1_000, 3, 2), heads=5, key=2, values=2, time=3, **SMALL)
    yield call(LMM, 34, (6, 9, 4), span=2, heads=1, key=4, values=4, time=5, **SMALL)
    yield call(LMM, 35, (6,), span=2, heads=1, key=2, values=4, degree=2, time=5)
    yield long_call()


@pytest.mark.long
@pytest.mark.spec("LMM-1")
def test_long_wide_and_distant_rows_are_those_of_the_loops(port: Port) -> None:
    for numerics in precisions(port):
        for number, inputs in enumerate(questions()):
            with where_declared():
                assert_results(port, LMM, numerics, {**CONFIGS[number % 2], "chunk": 1 + number}, inputs)


@pytest.mark.spec("LMM-5")
def test_no_gradient_stops_between_two_blocks_of_a_call(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_slopes(port, LMM, numerics, CONFIGS[0], long_call(), apart=False)


@pytest.mark.spec("LMM-5")
def test_every_row_head_and_age_gets_its_own_gradient(port: Port) -> None:
    inputs = unmarked(call(LMM, 36, (9, 7, 0), key=2, values=2, degree=2, time=3, tokens=1))
    for numerics in precisions(port):
        with where_declared():
            assert_slopes(port, LMM, numerics, CONFIGS[1], inputs, apart=True)


def begun() -> dict[str, Array]:
    """Return a call whose rows are those of `spec_tests.contract.sight`."""
    inputs = unmarked(call(LMM, 41, tuple(BEFORE.tolist()), time=7))
    inputs["reset"][0, BORDER] = 1
    return inputs


@pytest.mark.spec("LMM-3")
def test_what_is_out_of_sight_may_hold_anything(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_not_seen(port, LMM, numerics, CONFIGS[0], begun())


@pytest.mark.spec("LMM-3")
def test_gradients_are_finite_whatever_is_out_of_sight(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_gradients_not_seen(port, LMM, numerics, CONFIGS[0], begun(), SHARED, sequences=False)


@pytest.mark.spec("LMM-3")
def test_gradients_of_a_document_are_finite_whatever_an_earlier_one_of_the_call_holds(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_gradients_not_seen(port, LMM, numerics, CONFIGS[1], begun())
