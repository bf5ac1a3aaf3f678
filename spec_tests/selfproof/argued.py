"""Generated faults that nothing has to notice, each with its reason: `argued.toml`, read and matched.

Reasons are of two sorts: the fault changes nothing that the specification speaks of, or not in this profile; or no call
of the suite is long enough to tell, and why none should be.
"""

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Final

from spec_tests.faults.generated.kind import Generated
from spec_tests.port import PROFILES, Numerics

FILE: Final = Path(__file__).with_name("argued.toml")
UNNOTICED: Final = Path(__file__).with_name("unnoticed.txt")


@dataclass(frozen=True)
class Argument:
    """Why some faults need not be noticed in some profiles; `faults` are patterns of their ids."""

    faults: tuple[str, ...]
    numerics: tuple[Numerics, ...]
    reason: str

    def covers(self, fault: Generated, numerics: Numerics) -> bool:
        """Whether the argument speaks of a fault in a profile."""
        return numerics in self.numerics and any(fnmatchcase(fault.id, pattern) for pattern in self.faults)


@cache
def arguments() -> tuple[Argument, ...]:
    """Return every argument of the file."""
    entries = tomllib.loads(FILE.read_text())["argument"]
    every = [numerics.value for numerics in PROFILES]
    return tuple(
        Argument(
            tuple(entry["faults"]), tuple(Numerics(name) for name in entry.get("numerics", every)), entry["reason"]
        )
        for entry in entries
    )


def argued(fault: Generated, numerics: Numerics) -> str:
    """Return why a fault need not be noticed in a profile, nothing where it must be."""
    return next((argument.reason for argument in arguments() if argument.covers(fault, numerics)), "")


@cache
def unnoticed() -> frozenset[str]:
    """Return the ids of the faults that nothing notices yet: `atlas selfproof` says so, the gate knows them."""
    return frozenset(line for line in UNNOTICED.read_text().splitlines() if line and not line.startswith("#"))


def is_known(complaint: str) -> bool:
    """Whether a complaint is of a fault that is known to survive; it begins with the id."""
    fault = complaint.partition(":")[0]
    return "nothing notices it" in complaint and fault in unnoticed()


def idle(faults: Iterable[Generated]) -> Iterator[str]:
    """Yield the patterns and the ids that match no fault: they speak of nothing."""
    names = {fault.id for fault in faults}
    for argument in arguments():
        yield from (pattern for pattern in argument.faults if not any(fnmatchcase(name, pattern) for name in names))
    yield from sorted(unnoticed() - names)
