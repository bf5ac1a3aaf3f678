"""From the results of a run to the report: what is missing, what is blocked, what was expected, and the verdict."""

import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

import atlas_ref
from spec_tests.contract.outcome import Outcome
from spec_tests.port import Declaration, Numerics, Op
from spec_tests.report.blocked import with_blocked
from spec_tests.report.causes import causes
from spec_tests.report.manifest import MANIFEST, Entry, Manifest, sha256
from spec_tests.report.model import (
    LEVELS,
    Asked,
    DeclarationRecord,
    LevelCount,
    Machine,
    Report,
    Result,
    Verdict,
)
from spec_tests.report.scope import EVERYTHING, Scope
from spec_tests.report.xfail import Expectations, listing, matches, stale_lines

_COUNTED: Final[Mapping[Outcome, str]] = {
    Outcome.PASS: "passed",
    Outcome.FAIL: "failed",
    Outcome.UNDECLARED: "failed",
    Outcome.ERROR: "errors",
    Outcome.UNSUPPORTED: "unsupported",
    Outcome.BLOCKED: "blocked",
    Outcome.NOT_RUN: "not_run",
}


@dataclass(frozen=True)
class Run:
    """What a run leaves behind. `whole`: it selected every case of its scope; `collected`: the ids it found."""

    port: str
    declared: Declaration
    scope: Scope
    manifest: Manifest
    results: tuple[Result, ...]
    collected: frozenset[str]
    whole: bool
    started: datetime
    seconds: float
    expected: Expectations
    problems: tuple[str, ...] = ()
    understated: tuple[str, ...] = ()
    given_up: str = ""
    seed: int | None = None


def assemble(run: Run) -> Report:
    """Return the report of a run."""
    asked = run.manifest.asked(run.scope)
    found = {result.id: result for result in run.results}
    missing = [not_run(name, entry) for name, entry in asked.items() if name not in found]
    names = listing(run.expected, found)
    results = with_blocked([*(_marked(result, run.expected, names.get(result.id)) for result in run.results), *missing])
    problems = (*run.problems, *_count_problems(run, asked), *_strangers(run.results, asked))
    owed = frozenset(asked) if run.whole else frozenset(found)
    stale = tuple(stale_lines(run.expected, found, frozenset(run.manifest.asked(EVERYTHING)), owed))
    levels = tuple(_count(level, asked, results) for level in LEVELS if level <= run.scope.level)
    return Report(
        suite_version=atlas_ref.__version__,
        spec_version=run.scope.version,
        manifest_sha256=sha256(MANIFEST),
        port=run.port,
        declaration=DeclarationRecord.of(run.declared),
        level=run.scope.level,
        numerics=run.scope.numerics,
        whole=run.whole,
        machine=machine(),
        started=run.started.isoformat(timespec="seconds"),
        seconds=round(run.seconds, 3),
        verdict=verdict(results, problems, stale, len(asked)),
        reached=reached(levels),
        levels=levels,
        not_asked=len(run.manifest.asked(Scope()).keys() - asked.keys()),
        problems=problems,
        stale=stale,
        understated=run.understated,
        given_up=run.given_up,
        seed=run.seed,
        causes=causes(results),
        results=tuple(sorted(results, key=lambda result: result.place)),
    )


def verdict(results: Sequence[Result], problems: Sequence[str], stale: Sequence[str], asked: int) -> Verdict:
    """Return the verdict; a broken suite proves nothing, so it comes first, and `asked` must not be zero."""
    if problems:
        return Verdict.INTEGRITY
    if any(result.failed and result.known is None for result in results):
        return Verdict.FAILED
    if stale:
        return Verdict.STALE
    whole = asked > 0 and all(result.outcome is Outcome.PASS and not result.left_out for result in results)
    return Verdict.CONFORMANT if whole else Verdict.INCOMPLETE


def reached(levels: Sequence[LevelCount]) -> int | None:
    """Return the highest level that has cases and up to which all of them passed."""
    highest = None
    for count in levels:
        if count.passed < count.defined:
            break
        highest = count.level if count.defined else highest
    return highest


def not_run(name: str, entry: Entry) -> Result:
    """Return the result of a case that the run owes and does not have."""
    kinds = [numerics for numerics in Numerics if entry.kind == "property" or name.endswith(f"/{numerics}")]
    return Result(
        id=name,
        kind=entry.kind,
        level=entry.level,
        requirements=entry.requirements,
        outcome=Outcome.NOT_RUN,
        reason="not selected, or the run ended before it",
        asked=pairs(entry, kinds),
    )


def pairs(entry: Entry, numerics: Sequence[Numerics]) -> tuple[Asked, ...]:
    """Return what a case asks according to the manifest, in these precisions."""
    kinds = [each for each in entry.numerics if each in numerics]
    return tuple(Asked(operation=op, numerics=each) for op in entry.operations for each in kinds)


def machine() -> Machine:
    """Return where the suite runs."""
    return Machine(
        platform=platform.platform(),
        python=platform.python_version(),
        numpy=np.__version__,
        processors=os.cpu_count() or 0,
    )


def _marked(result: Result, expected: Expectations, name: str | None) -> Result:
    entry = expected[name] if name else None
    return result.model_copy(update={"known": entry.reason}) if entry and matches(entry, result) else result


def _count_problems(run: Run, asked: Mapping[str, Entry]) -> Iterator[str]:
    """Yield what is wrong with the number of cases: only a run that selected all of them can tell."""
    if not run.collected:
        yield "no case was collected"
    elif run.whole:
        for name in sorted(asked.keys() - run.collected):
            yield f"{name} is in the manifest, but was not collected"
        for name in sorted(run.collected - asked.keys()):
            yield f"{name} was collected, but is not in the manifest"


def _strangers(results: Sequence[Result], asked: Mapping[str, Entry]) -> Iterator[str]:
    """Yield the cases that asked for an operation for which the manifest does not count them."""
    for result in results:
        entry = asked.get(result.id)
        new: set[Op] = set(result.operations) - set(entry.operations) if entry else set()
        if new:
            yield f"{result.id} asks {', '.join(sorted(new))}, which the manifest does not say"


def _count(level: int, asked: Mapping[str, Entry], results: Sequence[Result]) -> LevelCount:
    here = [result for result in results if result.level == level]
    counts = Counter(_COUNTED[result.outcome] for result in here)
    return LevelCount(
        level=level,
        defined=sum(result.id in asked for result in here),
        known=sum(result.known is not None for result in here),
        **{name: counts[name] for name in set(_COUNTED.values())},
    )
