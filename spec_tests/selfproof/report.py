"""The whole self-proof: what was put to the suite, what it let pass, and the verdict, as one JSON."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from hypothesis import Phase, settings

from atlas_ref.errors import UserError
from spec_tests.contract.operations import OPERATIONS
from spec_tests.faults.catalogue import CATALOGUE
from spec_tests.faults.fault import Fault
from spec_tests.faults.generated.catalogue import GENERATED
from spec_tests.faults.generated.kind import Generated
from spec_tests.port import PROFILES, Numerics
from spec_tests.ports.numpy import NumpyPort
from spec_tests.ports.reference import ReferencePort
from spec_tests.selfproof.checks import chapters_and_cases, sound_checks
from spec_tests.selfproof.generated import FATES, Judge
from spec_tests.selfproof.kept import Kept, Trial
from spec_tests.selfproof.matrix import Row, row_of
from spec_tests.selfproof.mutants import (
    Verdict,
    every_module,
    every_mutant,
    judge_all,
    key,
    needless,
)
from spec_tests.selfproof.mutate import Mutant
from spec_tests.selfproof.port_tests import PortTest, port_tests
from spec_tests.selfproof.vacuity import SABOTEURS, accusations
from spec_tests.selfproof.variants import failures, variants
from spec_tests.vectors.case import load_cases

PARTS: Final = ("faults", "generated", "vacuity", "mutants", "variants")
PIECE: Final = 8
"""Faults of one operation that a process tries one after another."""
FEW: Final = 3
"""Mutants of one function that do: a survivor takes as long as `ENOUGH` says, and the others must not wait for many."""
SHARES: Final = 48
"""Pieces that the checks of one variant are cut into."""

Found = tuple[dict[str, object], dict[Numerics, str], list[str]]
"""What is told of a generated fault, its fate in each profile, and complaints."""
Outcomes = tuple[str, int, list[str]]
"""Of a share of the checks of a variant: why it is not here, if it is not, how many were asked, what failed."""
Say = Callable[[str], None]


@dataclass
class Part:
    """One part: how many subjects it tried, what it found wrong (nothing, for a sound suite), and the details."""

    tried: int = 0
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    details: list[dict[str, Any]] = field(default_factory=list)


def prove(
    parts: tuple[str, ...], only: str | None, say: Say, jobs: int = 1, kept: Kept | None = None
) -> dict[str, Part]:
    """Run the parts named; `only` restricts them to what begins with it (`subjects.matching` says where that is).

    A part that tries nothing is wrong: it would be as green as one that is whole. `jobs` processes share the subjects.
    What `kept` has is not tried again, and what is found is added to it.
    """
    # One failing example suffices: none is made smaller.
    settings.register_profile(
        "selfproof", settings(), phases=(Phase.explicit, Phase.generate), derandomize=True, deadline=None
    )
    settings.load_profile("selfproof")
    runs = {"faults": _faults, "generated": _generated, "vacuity": _vacuity, "mutants": _mutants, "variants": _variants}
    found = {name: runs[name](only, say, jobs, kept or Kept()) for name in parts}
    for part in found.values():
        if part.tried == 0:
            part.wrong.append("nothing was tried")
    return found


def _faults(only: str | None, say: Say, jobs: int, kept: Kept) -> Part:
    """Every seeded fault is noticed by its test, told apart from others, and found where it is."""
    part, cases = Part(), load_cases()
    located, hinted, alone = [0, 0], [0, 0], 0
    faults = [fault for fault in CATALOGUE if not only or fault.id.startswith(only)]

    def tried(some: Sequence[Fault]) -> list[dict[str, Any]]:
        return [asdict(row_of(fault, cases, ReferencePort(), NumpyPort())) for fault in some]

    # Reports of one operation seek their hints among the same faults, which a process tries once a stored case.
    trial = Trial("faults", attrgetter("id"), tried, lambda found: Row(**found).survives, PIECE, attrgetter("op"))
    for found in kept.results(trial, faults, jobs):
        row = Row(**found)
        part.tried += len(row.noticed)
        part.details.append(found)
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


def _generated(only: str | None, say: Say, jobs: int, kept: Kept) -> Part:
    """Every fault that is made from the table of operations is noticed, by a case or a test, or argued."""
    part, counts = Part(), Counter[tuple[str, str]]()
    # Faults of one operation follow each other: its answers are kept for them, and no longer.
    judge_of = lru_cache(maxsize=1)(Judge)

    def tried(piece: Sequence[Generated]) -> list[Found]:
        judging = judge_of(piece[0].op)
        verdicts = [judging.by_tests(judging.by_named_tests(judging.by_cases(fault))) for fault in piece]
        return [(verdict.told(), verdict.fates(), verdict.complaints()) for verdict in verdicts]

    faults = [fault for op in OPERATIONS for fault in GENERATED if fault.op == op]
    chosen = [fault for fault in faults if not only or fault.id.startswith(only)]
    trial = Trial("generated", attrgetter("id"), tried, lambda found: bool(found[2]), PIECE, attrgetter("op"))
    for told, fates, complaints in kept.results(trial, chosen, jobs):
        part.tried += len(fates)
        part.details.append(told)
        counts.update(fates.items())
        part.wrong += complaints
        for complaint in complaints:
            say(complaint)
    for numerics in PROFILES:
        part.notes.append(f"{numerics}: " + ", ".join(f"{counts[numerics, fate]} {fate}" for fate in FATES))
    return part


def _vacuity(only: str | None, say: Say, jobs: int, kept: Kept) -> Part:
    """Every test fails every saboteur from which it is not exempt, and those alone; so does every stored case."""
    part, tests = Part(), list(chapters_and_cases(only))

    def tried(test: PortTest) -> list[str]:
        return accusations(test.name, test.call, ReferencePort(), test.numerics)

    trial = Trial("vacuity", attrgetter("name"), lambda some: [tried(test) for test in some], bool)
    for found in kept.results(trial, tests, jobs):
        part.tried += len(SABOTEURS) + 1
        part.wrong += found
        for accusation in found:
            say(accusation)
    return part


def _mutants(only: str | None, say: Say, jobs: int, kept: Kept) -> Part:
    """At least 95% of the generic mutants that are not listed as equivalent are killed."""
    part = Part()
    checks = list(sound_checks(part.wrong, jobs, kept))
    mutants = list(every_mutant([name for name in every_module() if name.startswith(only or "")]))

    def judged(piece: Sequence[Mutant]) -> list[tuple[str | None, str | None]]:
        return [(verdict.killed_by, verdict.reason) for verdict in judge_all(checks, piece)]

    trial = Trial("mutants", key, judged, lambda fate: not any(fate), FEW, attrgetter("function"))
    verdicts = []
    for mutant, (killed_by, reason) in zip(mutants, kept.results(trial, mutants, jobs), strict=True):
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
    part.notes += needless(verdicts)
    return part


def _variants(only: str | None, say: Say, jobs: int, kept: Kept) -> Part:
    """No legitimate port fails anything."""
    part, tests, cases = Part(), list(port_tests()), load_cases()
    made = lru_cache(maxsize=1)(lambda name: variants()[name]())

    def tried(share: tuple[str, int]) -> Outcomes:
        name, first = share
        try:
            port = made(name)
        except UserError as error:
            return str(error), 0, []
        outcomes = list(failures(name, port, tests[first::SHARES], cases[first::SHARES]))
        return "", len(outcomes), [f"{name} fails {one.check}: {one.message}" for one in outcomes if one is not None]

    names = [name for name in variants() if not only or name.startswith(only)]
    shares = [(name, first) for name in names for first in range(SHARES)]
    trial = Trial[tuple[str, int], Outcomes](
        "variants",
        lambda share: f"{share[0]}, {share[1]} of {SHARES}",
        lambda some: [tried(share) for share in some],
        lambda found: bool(found[0] or found[2]),
    )
    found = zip(shares, kept.results(trial, shares, jobs), strict=True)
    for name, parts in groupby(found, lambda one: one[0][0]):
        answers = [answer for _, answer in parts]
        absent = next((why for why, _, _ in answers if why), "")
        if absent:
            part.notes.append(f"{name}: not here ({absent})")
            continue
        wrong = [line for _, _, lines in answers for line in lines]
        part.wrong += wrong
        part.tried += sum(asked for _, asked, _ in answers)
        part.notes.append(f"{name}: {sum(asked for _, asked, _ in answers) - len(wrong)} checks passed")
        say(part.notes[-1])
    return part
