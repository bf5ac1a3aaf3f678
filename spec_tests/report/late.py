"""What a program does after its answer is charged to the case that it answered, and never to the next one."""

from bisect import bisect_right
from typing import TYPE_CHECKING

from spec_tests.contract.outcome import Outcome
from spec_tests.port import Port
from spec_tests.report.model import Result

if TYPE_CHECKING:
    from spec_tests.process.client import Late, ProcessPort


class Latecomers:
    """The cases of this process as they follow one another; a port of this process is never late."""

    def __init__(self, port: Port, *, process: bool) -> None:
        self._port = _behind_the_protocol(port) if process else None
        self._firsts: list[int] = []
        self._results: list[Result] = []
        self._first = 0

    def begin(self) -> None:
        """Begin a new case: the questions from here on are its own."""
        if self._port is not None:
            self._first = self._port.cases + 1

    def settle(self, result: Result) -> tuple[Result, ...]:
        """Return the result of the case that ends, after those of earlier cases that must be taken back."""
        if self._port is None or self._port.cases < self._first:
            return (*self.rest(), result)
        self._firsts.append(self._first)
        self._results.append(result)
        earlier = [changed for changed in self.rest() if changed.id != result.id]
        return (*earlier, self._results[-1])

    def rest(self) -> tuple[Result, ...]:
        """Return the results that must be taken back because of what has come since."""
        late = self._port.late() if self._port else ()
        changed = (self._charge(each) for each in late)
        return tuple({result.id: result for result in changed if result}.values())

    def _charge(self, late: "Late") -> Result | None:
        """Spoil the result of the case to which a question belongs; the first one's for what follows no question."""
        if not self._results:
            return None
        place = max(bisect_right(self._firsts, late.case) - 1, 0)
        self._results[place] = _spoilt(self._results[place], late.words)
        return self._results[place]


def _behind_the_protocol(port: Port) -> "ProcessPort":
    from spec_tests.process.client import ProcessPort

    assert isinstance(port, ProcessPort)
    return port


def _spoilt(result: Result, words: str) -> Result:
    """Return the result with what came late; a failure stays the one that it is."""
    changes = {"outcome": Outcome.ERROR, "reason": words}
    return result if result.failed else result.model_copy(update=changes)
