"""What came late takes back the result of the case whose question it followed, however many cases later."""

import sys

from spec_tests.contract.outcome import Outcome
from spec_tests.process.client import Late, ProcessPort
from spec_tests.report.late import Latecomers
from spec_tests.report.model import Result
from spec_tests.report.samples import NothingPort, result


class Belated(ProcessPort):
    """A port of which the test says how many questions it was asked and what came late."""

    def __init__(self) -> None:
        super().__init__(sys.executable)
        self.came: tuple[Late, ...] = ()

    def late(self) -> tuple[Late, ...]:
        """Return what the test says, once."""
        came, self.came = self.came, ()
        return came


def fates(results: tuple[Result, ...]) -> dict[str, tuple[Outcome, str]]:
    return {each.id: (each.outcome, each.reason) for each in results}


PASSED = (Outcome.PASS, "")


def test_a_case_is_taken_back_by_the_question_that_was_its_own() -> None:
    port = Belated()
    cases = Latecomers(port, process=True)
    for name, questions in (("first", 2), ("asks nothing", 0), ("second", 3)):
        cases.begin()
        port.cases += questions
        assert fates(cases.settle(result(name))) == {name: PASSED}
    cases.begin()
    port.cases, port.came = 6, (Late(2, "two"), Late(5, "five"), Late(6, "six"))
    found = fates(cases.settle(result("third")))
    assert found == {name: (Outcome.ERROR, words) for name, words in zip(found, ("two", "five", "six"), strict=True)}
    assert list(found) == ["first", "second", "third"]


def test_what_comes_after_the_last_case_takes_it_back_at_the_end() -> None:
    port = Belated()
    cases = Latecomers(port, process=True)
    cases.begin()
    port.cases = 1
    cases.settle(result("last"))
    port.came = (Late(1, "one"),)
    assert fates(cases.rest()) == {"last": (Outcome.ERROR, "one")}
    assert cases.rest() == ()


def test_a_failure_stays_the_one_that_it_is() -> None:
    port = Belated()
    cases = Latecomers(port, process=True)
    cases.begin()
    port.cases, port.came = 1, (Late(1, "one"),)
    assert fates(cases.settle(result("failed", Outcome.FAIL, reason="off by 1"))) == {
        "failed": (Outcome.FAIL, "off by 1")
    }


def test_a_port_of_this_process_is_never_late() -> None:
    cases = Latecomers(NothingPort(), process=False)
    cases.begin()
    assert fates(cases.settle(result("a"))) == {"a": PASSED}
    assert cases.rest() == ()
