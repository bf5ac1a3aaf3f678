"""What the suite asks for, measured: stored cases are read, tests are listened to.

`asked.json` names, for what no stored case asks for, a test that does. `atlas trace --write-asked` writes it
from a run on the reference. Each time a test that it names passes on the reference, `spec_tests.report.listener` holds
the test to what the file says of it, so the file is never believed longer than until the next run.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from spec_tests.contract.asked import Question
from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import Op
from spec_tests.report.facets import demands, facets
from spec_tests.report.impossible import reason
from spec_tests.vectors.case import Case, load_cases

WITNESSES: Final = Path(__file__).with_name("asked.json")
Asked = Mapping[Op, frozenset[str]]


class Notes:
    """The facets of every question heard so far."""

    def __init__(self) -> None:
        self._heard: dict[Op, set[str]] = {}

    def hear(self, question: Question) -> None:
        """Note a question."""
        self._heard.setdefault(question.op, set()).update(facets(question))

    @property
    def asked(self) -> Asked:
        """What was asked of each operation."""
        return {op: frozenset(found) for op, found in self._heard.items()}


def question_of(case: Case) -> Question:
    """Return a stored case as a question that was answered."""
    cotangents = {f"cotangent.{name}": value for name, value in case.cotangents.items()}
    return Question(case.op, case.config, {**case.inputs, **cotangents}, case.expected)


def of_cases(cases: Iterable[Case]) -> Asked:
    """Return what stored cases ask for."""
    notes = Notes()
    for case in cases:
        notes.hear(question_of(case))
    return notes.asked


@cache
def stored() -> Asked:
    """Return what all stored cases ask for."""
    return of_cases(load_cases())


@cache
def witnesses() -> Mapping[str, Asked]:
    """Return what `asked.json` says that tests ask for, by test."""
    if not WITNESSES.is_file():
        return {}
    found = json.loads(WITNESSES.read_text())
    return {test: {Op(op): frozenset(words) for op, words in asked.items()} for test, asked in found.items()}


def together(*parts: Asked) -> Asked:
    """Return what is asked in one part or another."""
    union: dict[Op, frozenset[str]] = {}
    for part in parts:
        union |= {op: union.get(op, frozenset()) | found for op, found in part.items()}
    return union


def never_asked(asked: Asked) -> Iterator[str]:
    """Yield a line for everything that is demanded and never asked for, and for what is called impossible but asked."""
    for op, row in OPERATIONS.items():
        for demand in demands(row):
            met, excuse = demand.met(asked.get(op, frozenset())), reason(op, demand.words)
            if met and excuse:
                yield f"{op} is asked for {demand}, which is called impossible ({excuse})"
            elif not met and not excuse:
                yield f"{op} is never asked for {demand}"


def suite() -> Asked:
    """Return what stored cases and the tests of `asked.json` ask for."""
    return together(stored(), *witnesses().values())
