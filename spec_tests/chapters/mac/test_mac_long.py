"""docs/spec/mac.md: calls longer and wider than any block of a port's loops, beside the loops."""

from collections.abc import Iterator

import pytest

from spec_tests.chapters.mac.calls import MAC, call, config, unmarked
from spec_tests.chapters.mac.cases import cells
from spec_tests.contract.by_loops import assert_results, assert_slopes
from spec_tests.contract.driver import precisions
from spec_tests.port import Array, Port, Scalar
from spec_tests.tally import where_declared

SMALL = {"tokens": 1, "window": 2, "kernel": 2}


def long_call(kind: str) -> dict[str, Array]:
    """Return a row of seventy tokens, eighteen wide, in segments of six, that enters inside one."""
    return unmarked(call(31, (7,), span=6, heads=1, key=2, values=18, learned=1, time=70, **SMALL))


def questions() -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield a dozen documents, rows from afar, many heads and rows, one head of several rows, and wide features."""
    documents = long_call("causal")
    documents["reset"][0, 2::5] = 1
    yield config(chunk=3), documents
    yield config(rows="previous_segment"), call(32, (1, 100_003), span=8, heads=1, key=17, values=4, time=9, **SMALL)
    yield config(rows="learned"), call(33, (0, 1, 7, 1_000, 3, 2), heads=5, key=2, values=2, time=3, **SMALL)
    yield config(write_from="input"), call(34, (6, 9, 4), span=2, heads=1, key=4, values=4, degree=2, time=5, **SMALL)
    yield config(chunk=1, gate="product"), call(35, (3, 4), span=3, heads=2, key=4, values=4, time=5, **SMALL)


@pytest.mark.long
@pytest.mark.spec("MAC-1", "MAC-2", "MAC-6")
def test_long_wide_and_distant_rows_are_those_of_the_loops(port: Port) -> None:
    for numerics in precisions(port):
        for given, inputs in questions():
            with where_declared():
                assert_results(port, MAC, numerics, given, inputs)


@pytest.mark.long
@pytest.mark.spec("MAC-2", "MAC-4", "MAC-5")
def test_every_two_values_of_the_configuration_meet(port: Port) -> None:
    for numerics in precisions(port):
        for given, inputs in cells():
            with where_declared():
                assert_results(port, MAC, numerics, given, inputs)


@pytest.mark.long
@pytest.mark.spec("MAC-10")
def test_no_gradient_stops_between_two_segments_of_a_call(port: Port) -> None:
    for numerics in precisions(port):
        for kind in ("causal", "previous_segment", "learned"):
            with where_declared():
                assert_slopes(port, MAC, numerics, config(rows=kind), long_call(kind), apart=False)


@pytest.mark.long
@pytest.mark.spec("MAC-10")
def test_every_row_head_and_age_gets_its_own_gradient(port: Port) -> None:
    for numerics in precisions(port):
        for number, kind in enumerate(("causal", "previous_segment", "learned")):
            given = config(rows=kind, gate=("source", "gated_attention", "convex")[number])
            inputs = unmarked(call(36 + number, (9, 7, 0), key=2, values=2, degree=2, time=3, learned=2, tokens=1))
            with where_declared():
                assert_slopes(port, MAC, numerics, given, inputs, apart=True)
