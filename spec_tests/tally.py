"""What the test that runs has asked of a port, and what it left out because the port declares it absent.

A property is asked in many configurations and on many inputs. `where_declared` is around each of them: a question that
the declaration excludes ends that one, and the test goes on past it. Nothing of what is left out counts as passed.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from _pytest.outcomes import Skipped


class AbsentError(Skipped):
    """A question that the port's declaration excludes; where nothing goes on past it, the test is skipped."""


@dataclass
class Tally:
    """Questions that were answered and judged, and the reasons of those left out, each with its number."""

    asked: int = 0
    absent: Counter[str] = field(default_factory=Counter)

    def begin(self) -> None:
        """Begin a new test."""
        self.asked, self.absent = 0, Counter()

    @property
    def reason(self) -> str:
        """Return why nothing was asked: the reason met most often."""
        return self.absent.most_common(1)[0][0] if self.absent else "the port was asked nothing"


TALLY: Final = Tally()
"""That of the test that runs in this process."""


@contextmanager
def where_declared() -> Iterator[None]:
    """Go on past a question that the declaration excludes; what was asked with it was not judged, so it was not asked.

    A failure inside goes through.
    """
    before = TALLY.asked
    try:
        yield
    except AbsentError as absent:
        TALLY.asked = before
        TALLY.absent[str(absent)] += 1
