"""What is said of generated faults by patterns of their ids and by profiles, in a TOML file: read and matched."""

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import filter as matching
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Final

from spec_tests.faults.generated.kind import Generated
from spec_tests.port import PROFILES, Numerics

HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Listed:
    """What one entry says of the faults whose ids match a pattern, in some profiles: all, unless it names them.

    `says` is the reason of an argument or the name of a test; `holds` names what checks an argument, if anything can.
    """

    faults: tuple[str, ...]
    numerics: tuple[Numerics, ...]
    says: str
    holds: str = ""

    def covers(self, fault: Generated, numerics: Numerics) -> bool:
        """Whether the entry speaks of a fault in a profile."""
        return numerics in self.numerics and any(fnmatchcase(fault.id, pattern) for pattern in self.faults)

    def among(self, names: Iterable[str]) -> set[str]:
        """Return those of the ids of faults that the entry speaks of, in some profile."""
        known = tuple(names)
        return {name for pattern in self.faults for name in matching(known, pattern)}


@cache
def entries(table: str) -> tuple[Listed, ...]:
    """Return the entries of `argued.toml` or `noticed.toml`, in their order."""
    every = [numerics.value for numerics in PROFILES]
    return tuple(
        Listed(
            tuple(entry["faults"]),
            tuple(Numerics(name) for name in entry.get("numerics", every)),
            entry["says"],
            entry.get("holds", ""),
        )
        for entry in tomllib.loads((HERE / f"{table}.toml").read_text())[table]
    )


def said(table: str, fault: Generated, numerics: Numerics) -> str:
    """Return what the first entry that speaks of a fault in a profile says, nothing where none does."""
    return next((entry.says for entry in entries(table) if entry.covers(fault, numerics)), "")


def argued(fault: Generated, numerics: Numerics) -> str:
    """Return why a fault need not be noticed in a profile, nothing where it must be."""
    return said("argued", fault, numerics)


def noticing(fault: Generated, numerics: Numerics) -> str:
    """Return the test that notices a fault in a profile where no stored case does, nothing where none is named."""
    return said("noticed", fault, numerics)


def idle(faults: Iterable[Generated]) -> Iterator[str]:
    """Yield the patterns that match no fault: they speak of nothing."""
    names = {fault.id for fault in faults}
    for entry in (*entries("argued"), *entries("noticed")):
        yield from (pattern for pattern in entry.faults if not matching(names, pattern))
