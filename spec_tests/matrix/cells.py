"""From a report to the cells of a row: chapter by chapter, precision by precision."""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Final

from spec_tests.contract.operations import chapters_of_operations
from spec_tests.contract.outcome import Outcome
from spec_tests.contract.version import is_asked
from spec_tests.discovery import modules_of_tests
from spec_tests.matrix.model import Cell, First
from spec_tests.port import Numerics, Op
from spec_tests.report.manifest import read_manifest
from spec_tests.report.model import Report, Result

LONGEST: Final = 240
"""Characters of what a failure says."""


def chapter_of(case: str, kind: str, operation: Op) -> str:
    """Return the chapter of a case: of its operation, or of the file that a property stands in."""
    if kind == "vector":
        return chapters_of_operations()[operation]
    return _chapters_of_files()[case.partition(":")[0]]


@cache
def _chapters_of_files() -> dict[str, str]:
    return {name: module.split(".")[-2] for name, module in modules_of_tests().items()}


def precisions_of(result: Result) -> set[Numerics]:
    """Return the precisions that a case speaks of; of a property that failed, the one of its last call."""
    if result.failed and result.kind == "property" and result.last is not None:
        return {result.last.numerics}
    return {pair.numerics for pair in result.asked}


def cells_of(report: Report, port: str) -> dict[str, dict[str, Cell]]:
    """Return the cells of chapters in which something was asked of a port, whose name the commands have."""
    found: dict[tuple[str, Numerics], list[Result]] = {}
    for result in report.results:
        if result.failed or result.outcome is Outcome.PASS:
            for numerics in precisions_of(result):
                chapter = chapter_of(result.id, result.kind, result.asked[0].operation)
                found.setdefault((chapter, numerics), []).append(result)
    cases, chapters = defined(report.spec_version), sorted({chapter for chapter, _ in found})
    return {
        chapter: {
            str(each): cell_of(found.get((chapter, each), []), cases[chapter, each], port)
            for each in report.numerics
            if cases[chapter, each]
        }
        for chapter in chapters
    }


@cache
def defined(version: str) -> Counter[tuple[str, Numerics]]:
    """Return how many cases the manifest has of each chapter in each precision."""
    return Counter(
        (chapter_of(entry.id, entry.kind, entry.operations[0]), numerics)
        for entry in read_manifest().cases
        if is_asked(entry.since, version)
        for numerics in entry.numerics
    )


def cell_of(results: list[Result], cases: int, port: str) -> Cell:
    """Return the counts, and the first failure: a stored vector before a property, lower levels and ids first."""
    failures = sorted((each for each in results if each.failed), key=lambda each: (each.kind == "property", each.place))
    passed = len(results) - len(failures)
    first = next(_first(failures, port), None)
    return Cell(passed=passed, failed=len(failures), absent=max(0, cases - len(results)), first=first)


def _first(failures: list[Result], port: str) -> Iterator[First]:
    for result in failures:
        # The port was asked in its layer, whose place on this machine is nobody else's.
        question = result.rerun.partition(" --port ")[0]
        yield First(case=result.id, said=_said(result), rerun=f"{question} --port {port}")


def _said(result: Result) -> str:
    there = result.divergence
    if there is None:
        return result.reason.partition("\n")[0][:LONGEST]
    step = "" if there.step is None else f" at step {there.step}"
    return f"{there.tensor}{step} is off by {float(there.error):.2g}; its budget is {float(there.budget):.2g}"
