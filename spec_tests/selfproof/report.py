"""The whole self-proof: what was put to the suite, what it let pass, and the verdict, as one JSON."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, Final

from hypothesis import Phase, settings

from atlas_ref.errors import UserError
from spec_tests.contract.operations import OPERATIONS
from spec_tests.faults.catalogue import CATALOGUE
from spec_tests.faults.generated.catalogue import GENERATED
from spec_tests.faults.generated.kind import Generated
from spec_tests.port import PROFILES, Numerics
from spec_tests.ports.numpy import NumpyPort
from spec_tests.ports.reference import ReferencePort
from spec_tests.selfproof.generated import FATES, Judge
from spec_tests.selfproof.matrix import Row, row_of
from spec_tests.selfproof.mutants import Check, Place, Verdict, every_mutant, judge_all, measured
from spec_tests.selfproof.mutate import Mutant
from spec_tests.selfproof.port_tests import PortTest, port_tests, tests_of
from spec_tests.selfproof.sharing import Subject, shared
from spec_tests.selfproof.vacuity import SABOTEURS, UNSUPPORTED, vacuous
from spec_tests.selfproof.variants import Failure, failures, variants
from spec_tests.vectors.case import Case, load_cases
from spec_tests.vectors.judge import judge

PARTS: Final = ("faults", "generated", "vacuity", "mutants", "variants")
OWN_TESTS: Final = (
    "spec_tests.package.functional.test_dropout",
    "spec_tests.package.functional.test_functional",
    "spec_tests.package.functional.test_larger_forms",
    "spec_tests.package.functional.test_largest",
    "spec_tests.package.functional.test_slot_memory",
    "spec_tests.package.functional.test_surely_finite",
    "spec_tests.package.functional.test_unseen",
    "spec_tests.package.memory.test_bias",
    "spec_tests.package.memory.test_delta_schedule",
    "spec_tests.package.memory.test_folding",
    "spec_tests.package.memory.test_hierarchical",
    "spec_tests.package.memory.test_link",
    "spec_tests.package.memory.test_miras_chunked",
    "spec_tests.package.memory.test_miras_properties",
    "spec_tests.package.memory.test_miras_recurrent",
    "spec_tests.package.memory.test_out_of_sight",
    "spec_tests.package.memory.test_ridge",
    "spec_tests.package.memory.test_rows_in_step",
    "spec_tests.package.memory.test_shards",
    "spec_tests.package.memory.test_ttl",
)
"""Tests of the package that hold what no operation of the table shows."""

PIECE: Final = 8
"""Generated faults of one operation, or mutants of one function, that a process tries one after another."""

Say = Callable[[str], None]


@dataclass
class Part:
    """One part: how many subjects it tried, what it found wrong (nothing, for a sound suite), and the details."""

    tried: int = 0
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    details: list[dict[str, Any]] = field(default_factory=list)


def prove(parts: tuple[str, ...], only: str | None, say: Say, jobs: int = 1) -> dict[str, Part]:
    """Run the parts named; `only` restricts them to what begins with it (`subjects.matching` says where that is).

    A part that tries nothing is wrong: it would be as green as one that is whole. `jobs` processes share the subjects.
    """
    # One failing example suffices: none is made smaller.
    settings.register_profile(
        "selfproof", settings(), phases=(Phase.explicit, Phase.generate), derandomize=True, deadline=None
    )
    settings.load_profile("selfproof")
    runs = {"faults": _faults, "generated": _generated, "vacuity": _vacuity, "mutants": _mutants, "variants": _variants}
    found = {name: runs[name](only, say, jobs) for name in parts}
    for part in found.values():
        if part.tried == 0:
            part.wrong.append("nothing was tried")
    return found


def _faults(only: str | None, say: Say, jobs: int) -> Part:
    """Every seeded fault is noticed by its test, told apart from others, and found where it is."""
    part, cases = Part(), load_cases()
    located, hinted, alone = [0, 0], [0, 0], 0
    faults = [fault for fault in CATALOGUE if not only or fault.id.startswith(only)]
    for row in shared(lambda fault: row_of(fault, cases, ReferencePort(), NumpyPort()), faults, jobs):
        part.tried += len(row.noticed)
        part.details.append(asdict(row))
        for total, (right, asked) in ((located, row.located), (hinted, row.hinted)):
            total[0], total[1] = total[0] + right, total[1] + asked
        alone += row.alone
        say(_fault_line(row))
        if row.survives:
            part.wrong.append(f"{row.fault}: {row.test} does not notice it in every profile: {row.noticed}")
    for what, (right, asked) in (("first divergences name tensor and step", located), ("hints name the fault", hinted)):
        part.notes.append(f"{right} of {asked} {what}")
        if right < 0.95 * asked:
            part.wrong.append(f"only {right} of {asked} {what}")
    part.notes.append(f"{alone} of the hints name one fault, the others several that err alike in that case")
    return part


def _fault_line(row: Row) -> str:
    told = "noticed" if not row.survives else "SURVIVES"
    return f"{told:9s}{row.fault:45s}{row.requirement:10s}{len(row.cases):3d} cases  {row.test}"


def _generated(only: str | None, say: Say, jobs: int) -> Part:
    """Every fault that is made from the table of operations is noticed, by a case or a test, or argued."""
    part, counts = Part(), Counter[tuple[str, str]]()
    # Faults of one operation follow each other: its answers are kept for them, and no longer.
    judge_of = lru_cache(maxsize=1)(Judge)

    def tried(piece: Sequence[Generated]) -> list[tuple[dict[str, object], dict[Numerics, str], list[str]]]:
        judging = judge_of(piece[0].op)
        verdicts = [judging.by_tests(judging.by_named_tests(judging.by_cases(fault))) for fault in piece]
        return [(verdict.told(), verdict.fates(), verdict.complaints()) for verdict in verdicts]

    faults = [fault for op in OPERATIONS for fault in GENERATED if fault.op == op]
    chosen = [fault for fault in faults if not only or fault.id.startswith(only)]
    for told, fates, complaints in chain.from_iterable(shared(tried, _pieces(chosen, attrgetter("op")), jobs)):
        part.tried += len(fates)
        part.details.append(told)
        counts.update(fates.items())
        part.wrong += complaints
        for complaint in complaints:
            say(complaint)
    for numerics in PROFILES:
        part.notes.append(f"{numerics}: " + ", ".join(f"{counts[numerics, fate]} {fate}" for fate in FATES))
    return part


def _pieces(subjects: Iterable[Subject], alike: Callable[[Subject], object]) -> list[tuple[Subject, ...]]:
    """Cut what follows each other and is alike into pieces of at most `PIECE`."""
    groups = [tuple(same) for _, same in groupby(subjects, alike)]
    return [same[first : first + PIECE] for same in groups for first in range(0, len(same), PIECE)]


def _vacuity(only: str | None, say: Say, jobs: int) -> Part:
    """Every test fails every saboteur that applies to it; so does every stored case."""
    part, names = Part(), (*SABOTEURS, UNSUPPORTED)

    def passed(test: PortTest) -> list[str]:
        return [name for name in names if vacuous(test.name, name, test.call, ReferencePort(), test.numerics)]

    tests = list(_tests(only))
    for test, saboteurs in zip(tests, shared(passed, tests, jobs), strict=True):
        part.tried += len(names)
        for saboteur in saboteurs:
            part.wrong.append(f"{test.name} passes the saboteur '{saboteur}'")
            say(part.wrong[-1])
    return part


def _tests(only: str | None, profiles: int = 1) -> Iterator[PortTest]:
    """Yield the chapters' tests and, as tests, the stored cases, in as many of their precisions."""
    for test in port_tests():
        if not only or test.name.startswith(only):
            yield test
    for case in load_cases():
        if not only or case.id.startswith(only):
            yield PortTest(case.id, case.requirements, _case_call(case, *case.numerics[:profiles]), case.numerics[0])


def _case_call(case: Case, *profiles: Numerics) -> Callable[[Any], None]:
    def call(port: Any) -> None:
        for numerics in profiles:
            found = judge(port, case, numerics).divergence
            # Not `check`: nobody reads this report, and seeking a hint takes long.
            assert found is None, f"{case.id} in {numerics} diverges"

    return call


def _mutants(only: str | None, say: Say, jobs: int) -> Part:
    """At least 95% of the generic mutants that are not listed as equivalent are killed."""
    part = Part()
    checks = _checks(part, jobs)
    mutants = [mutant for mutant in every_mutant() if not only or mutant.function.__module__.startswith(only)]

    def judged(piece: Sequence[Mutant]) -> list[tuple[str | None, str | None]]:
        return [(verdict.killed_by, verdict.reason) for verdict in judge_all(checks, piece)]

    fates = chain.from_iterable(shared(judged, _pieces(mutants, attrgetter("function")), jobs))
    verdicts = []
    for mutant, (killed_by, reason) in zip(mutants, fates, strict=True):
        verdicts.append(Verdict(mutant, killed_by, reason))
        if killed_by is None:
            say(f"{'allowed' if reason else 'SURVIVES'} {mutant.name}")
    part.tried = len(verdicts)
    killed, holes = sum(v.killed_by is not None for v in verdicts), [v for v in verdicts if v.hole]
    part.notes.append(
        f"{killed} killed, {len(verdicts) - killed - len(holes)} equivalent by argument, {len(holes)} survive"
    )
    part.details = [{"mutant": v.mutant.name, "killed_by": v.killed_by, "reason": v.reason} for v in verdicts]
    where = part.wrong if killed < 0.95 * (killed + len(holes)) else part.notes
    where += [f"survives: {verdict.mutant.name}" for verdict in holes]
    return part


def _checks(part: Part, jobs: int) -> list[Check]:
    """Return every check that a sound reference passes, with what it reaches; one that fails it is noted as wrong."""
    port = ReferencePort()
    own = (test for module in OWN_TESTS for test in tests_of(module, fixtures=set()))
    tests = [*_tests(None, profiles=3), *own]
    calls = [(test.name, partial(test.call, port)) for test in tests]

    def tried(test: tuple[str, Callable[[], None]]) -> tuple[float, frozenset[Place]] | str | None:
        try:
            check = measured(*test)
        except AssertionError as error:
            # An assertion without words is told by its kind.
            return (str(error).splitlines() or [type(error).__name__])[0]
        return (check.seconds, check.reaches) if check else None

    checks = []
    for (name, call), found in zip(calls, shared(tried, calls, jobs), strict=True):
        if isinstance(found, str):
            part.wrong.append(f"{name} fails the sound reference: {found}")
        elif found:
            checks.append(Check(name, call, *found))
    return checks


def _variants(only: str | None, say: Say, jobs: int) -> Part:
    """No legitimate port fails anything."""
    part, tests, cases = Part(), list(port_tests()), load_cases()

    def tried(share: tuple[str, int]) -> list[Failure | None] | str:
        name, first = share
        try:
            port = variants()[name]()
        except UserError as error:
            return str(error)
        return list(failures(name, port, tests[first::jobs], cases[first::jobs]))

    names = [name for name in variants() if not only or name.startswith(only)]
    shares = [(name, first) for name in names for first in range(jobs)]
    found = zip(shares, shared(tried, shares, jobs), strict=True)
    for name, parts in groupby(found, lambda one: one[0][0]):
        answers = [answer for _, answer in parts]
        absent = next((answer for answer in answers if isinstance(answer, str)), None)
        if absent:
            part.notes.append(f"{name}: not here ({absent})")
            continue
        outcomes = [one for answer in answers if not isinstance(answer, str) for one in answer]
        part.tried += len(outcomes)
        part.wrong += [f"{name} fails {one.check}: {one.message}" for one in outcomes if one is not None]
        part.notes.append(f"{name}: {sum(one is None for one in outcomes)} checks passed")
        say(part.notes[-1])
    return part
