"""docs/spec/mal.md: long and wide calls beside the loops, and what another document left."""

from collections.abc import Iterator

import pytest

from spec_tests.chapters.mal.calls import call, unmarked
from spec_tests.chapters.mal.test_mal import CONFIGS, MAL
from spec_tests.contract.by_loops import assert_results, assert_slopes
from spec_tests.contract.driver import precisions
from spec_tests.contract.sight import BEFORE, BORDER, assert_gradients_not_seen, assert_not_seen
from spec_tests.port import Array, Numerics, Port
from spec_tests.tally import where_declared

SMALL = {"tokens": 1, "window": 2, "kernel": 2}
SHARED = ("memory_projection", "gates_weight", "initial", "output")


def long_call(seed: int = 31) -> dict[str, Array]:
    """Return a row of seventy tokens, eighteen wide, that enters inside a chunk."""
    return unmarked(call(MAL, seed, (7,), heads=1, key=2, values=18, time=70, **SMALL))


def questions() -> Iterator[dict[str, Array]]:
    """Yield a dozen documents, rows from afar, many heads and rows, and one head of several rows."""
    documents = long_call()
    documents["reset"][0, 2::5] = 1
    yield documents
    yield call(MAL, 32, (1, 100_003), span=5, heads=1, key=17, values=4, time=5, **SMALL)
    yield call(MAL, 33, (0, 1, 7, 1_000, 3, 2), heads=5, key=2, values=2, time=3, **SMALL)
    yield call(MAL, 34, (6, 9, 4), span=2, heads=1, key=4, values=4, time=5, **SMALL)
    yield call(MAL, 35, (6,), span=2, heads=1, key=2, values=4, degree=2, time=5)


@pytest.mark.spec("MAL-1")
def test_long_wide_and_distant_rows_are_those_of_the_loops(port: Port) -> None:
    for numerics in precisions(port):
        for number, inputs in enumerate(questions()):
            with where_declared():
                assert_results(port, MAL, numerics, {**CONFIGS[number % 2], "chunk": 1 + number}, inputs)


@pytest.mark.spec("MAL-6")
def test_no_gradient_stops_between_two_blocks_of_a_call(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            # Of one row half precision does not show what each kind of state loses.
            for seed in (31, 33) if numerics is Numerics.BF16_IO else (31,):
                assert_slopes(port, MAL, numerics, CONFIGS[0], long_call(seed), apart=False)


@pytest.mark.spec("MAL-6")
def test_every_row_head_and_age_gets_its_own_gradient(port: Port) -> None:
    inputs = unmarked(call(MAL, 36, (9, 7, 0), key=2, values=2, degree=2, time=3, tokens=1))
    for numerics in precisions(port):
        with where_declared():
            assert_slopes(port, MAL, numerics, CONFIGS[1], inputs, apart=True)


def begun() -> dict[str, Array]:
    """Return a call whose rows are those of `spec_tests.contract.sight`."""
    inputs = unmarked(call(MAL, 41, tuple(BEFORE.tolist()), time=7))
    inputs["reset"][0, BORDER] = 1
    return inputs


@pytest.mark.spec("MAL-4")
def test_what_is_out_of_sight_may_hold_anything(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_not_seen(port, MAL, numerics, CONFIGS[0], begun())


@pytest.mark.spec("MAL-4")
def test_gradients_are_finite_whatever_is_out_of_sight(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_gradients_not_seen(port, MAL, numerics, CONFIGS[0], begun(), SHARED, sequences=False)


@pytest.mark.spec("MAL-4")
def test_gradients_of_a_document_are_finite_whatever_an_earlier_one_of_the_call_holds(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_gradients_not_seen(port, MAL, numerics, CONFIGS[1], begun())
