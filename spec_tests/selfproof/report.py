"""The whole self-proof: what was put to the suite, what it let pass, and the verdict, as one JSON."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final

from hypothesis import Phase, settings

from atlas_ref.errors import UserError
from spec_tests.contract.operations import OPERATIONS
from spec_tests.faults.catalogue import CATALOGUE
from spec_tests.faults.generated.catalogue import GENERATED
from spec_tests.port import PROFILES, Numerics
from spec_tests.ports.numpy import NumpyPort
from spec_tests.ports.reference import ReferencePort
from spec_tests.selfproof.generated import FATES, Judge
from spec_tests.selfproof.matrix import Row, row_of
from spec_tests.selfproof.mutants import Check, Verdict, every_mutant, measured
from spec_tests.selfproof.mutants import run as run_mutants
from spec_tests.selfproof.port_tests import PortTest, port_tests, tests_of
from spec_tests.selfproof.vacuity import SABOTEURS, UNSUPPORTED, vacuous
from spec_tests.selfproof.variants import failures, variants
from spec_tests.vectors.case import Case, load_cases
from spec_tests.vectors.judge import judge

PARTS: Final = ("faults", "generated", "vacuity", "mutants", "variants")
OWN_TESTS: Final = ("spec_tests.package.functional.test_functional",)
"""Tests of the package that hold what no operation of the table shows."""

Say = Callable[[str], None]


@dataclass
class Part:
    """One part: how many subjects it tried, what it found wrong (nothing, for a sound suite), and the details."""

    tried: int = 0
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    details: list[dict[str, Any]] = field(default_factory=list)


def prove(parts: tuple[str, ...], only: str | None, say: Say) -> dict[str, Part]:
    """Run the parts named; `only` restricts them to what begins with it (`subjects.matching` says where that is).

    A part that tries nothing is wrong: it would be as green as one that is whole.
    """
    # One failing example suffices: none is made smaller.
    settings.register_profile(
        "selfproof", settings(), phases=(Phase.explicit, Phase.generate), derandomize=True, deadline=None
    )
    settings.load_profile("selfproof")
    runs = {"faults": _faults, "generated": _generated, "vacuity": _vacuity, "mutants": _mutants, "variants": _variants}
    found = {name: runs[name](only, say) for name in parts}
    for part in found.values():
        if part.tried == 0:
            part.wrong.append("nothing was tried")
    return found


def _faults(only: str | None, say: Say) -> Part:
    """Every seeded fault is noticed by its test, told apart from others, and found where it is."""
    part, cases = Part(), load_cases()
    located, hinted, alone = [0, 0], [0, 0], 0
    for fault in CATALOGUE:
        if only and not fault.id.startswith(only):
            continue
        row = row_of(fault, cases, ReferencePort(), NumpyPort())
        part.tried += len(row.noticed)
        part.details.append(asdict(row))
        for total, (right, asked) in ((located, row.located), (hinted, row.hinted)):
            total[0], total[1] = total[0] + right, total[1] + asked
        alone += row.alone
        say(_fault_line(row))
        if row.survives:
            part.wrong.append(f"{fault.id}: {row.test} does not notice it in every profile: {row.noticed}")
    for what, (right, asked) in (("first divergences name tensor and step", located), ("hints name the fault", hinted)):
        part.notes.append(f"{right} of {asked} {what}")
        if right < 0.95 * asked:
            part.wrong.append(f"only {right} of {asked} {what}")
    part.notes.append(f"{alone} of the hints name one fault, the others several that err alike in that case")
    return part


def _fault_line(row: Row) -> str:
    told = "noticed" if not row.survives else "SURVIVES"
    return f"{told:9s}{row.fault:45s}{row.requirement:10s}{len(row.cases):3d} cases  {row.test}"


def _generated(only: str | None, say: Say) -> Part:
    """Every fault that is made from the table of operations is noticed, by a case or a test, or argued."""
    part, counts = Part(), Counter[tuple[str, str]]()
    for op in OPERATIONS:
        judge_of = Judge(op)
        for fault in (fault for fault in GENERATED if fault.op == op and (not only or fault.id.startswith(only))):
            verdict = judge_of.by_tests(judge_of.by_named_tests(judge_of.by_cases(fault)))
            part.tried += len(verdict.noticed)
            part.details.append(verdict.told())
            counts.update((numerics, fate) for numerics, fate in verdict.fates().items())
            part.wrong += verdict.complaints()
        say(f"{op}: {sum(fault.op == op for fault in GENERATED)} faults, {len(part.wrong)} complaints so far")
    for numerics in PROFILES:
        fates = ", ".join(f"{counts[numerics, fate]} {fate}" for fate in FATES)
        part.notes.append(f"{numerics}: {fates}")
    return part


def _vacuity(only: str | None, say: Say) -> Part:
    """Every test fails every saboteur that applies to it; so does every stored case."""
    part = Part()
    for test in _tests(only):
        for saboteur in (*SABOTEURS, UNSUPPORTED):
            part.tried += 1
            if vacuous(test.name, saboteur, test.call, ReferencePort(), test.numerics):
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


def _mutants(only: str | None, say: Say) -> Part:
    """At least 95% of the generic mutants that are not listed as equivalent are killed."""
    part, port = Part(), ReferencePort()
    checks: list[Check] = []
    own = (test for module in OWN_TESTS for test in tests_of(module, fixtures=set()))
    for test in (*_tests(None, profiles=3), *own):
        try:
            checked = measured(test.name, partial(test.call, port))
        except AssertionError as error:
            part.wrong.append(f"{test.name} fails the sound reference: {str(error).splitlines()[0]}")
            continue
        checks += [checked] if checked else []
    mutants = [mutant for mutant in every_mutant() if not only or mutant.function.__module__.startswith(only)]

    def tell(verdict: Verdict) -> None:
        if verdict.killed_by is None:
            say(f"{'allowed' if verdict.reason else 'SURVIVES'} {verdict.mutant.name}")

    verdicts = run_mutants(checks, mutants, tell)
    part.tried = len(verdicts)
    killed, holes = sum(v.killed_by is not None for v in verdicts), [v for v in verdicts if v.hole]
    part.notes.append(
        f"{killed} killed, {len(verdicts) - killed - len(holes)} equivalent by argument, {len(holes)} survive"
    )
    part.details = [{"mutant": v.mutant.name, "killed_by": v.killed_by, "reason": v.reason} for v in verdicts]
    if killed < 0.95 * (killed + len(holes)):
        part.wrong += [f"survives: {verdict.mutant.name}" for verdict in holes]
    else:
        part.notes += [f"survives: {verdict.mutant.name}" for verdict in holes]
    return part


def _variants(only: str | None, say: Say) -> Part:
    """No legitimate port fails anything."""
    part, tests, cases = Part(), list(port_tests()), load_cases()
    for name, factory in variants().items():
        if only and not name.startswith(only):
            continue
        try:
            port = factory()
        except UserError as error:
            part.notes.append(f"{name}: not here ({error})")
            continue
        passed = 0
        for failure in failures(name, port, tests, cases):
            part.tried += 1
            passed += failure is None
            if failure is not None:
                part.wrong.append(f"{name} fails {failure.check}: {failure.message}")
                say(part.wrong[-1])
        part.notes.append(f"{name}: {passed} checks passed")
        say(part.notes[-1])
    return part
