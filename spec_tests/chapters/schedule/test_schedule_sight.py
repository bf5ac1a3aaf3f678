"""docs/spec/schedule.md: what another document left, or what waits no more, may hold anything, NaN too."""

import pytest

from spec_tests.chapters.schedule.calls import Question, call, config
from spec_tests.chapters.schedule.test_schedule import SCHEDULE
from spec_tests.contract.driver import precisions
from spec_tests.contract.sight import BEFORE, BORDER, assert_gradients_not_seen, assert_not_seen
from spec_tests.port import Port
from spec_tests.tally import where_declared


def question() -> Question:
    """Return a call whose rows are those of `spec_tests.contract.sight`."""
    asked = config()
    inputs = call(asked, 91, batch=3, time=7, position=tuple(BEFORE.tolist()))
    inputs["reset"] = 0 * inputs["reset"]
    inputs["reset"][0, BORDER] = 1
    return asked, inputs


@pytest.mark.spec("TTL-6")
def test_what_is_out_of_sight_may_hold_anything(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_not_seen(port, SCHEDULE, numerics, *question())


@pytest.mark.spec("TTL-6")
def test_gradients_are_finite_whatever_is_out_of_sight(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_gradients_not_seen(port, SCHEDULE, numerics, *question(), ("initial",), sequences=False)


@pytest.mark.spec("TTL-6")
def test_gradients_of_a_document_are_finite_whatever_an_earlier_one_of_the_call_holds(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_gradients_not_seen(port, SCHEDULE, numerics, *question())
