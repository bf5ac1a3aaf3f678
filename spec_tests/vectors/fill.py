"""From questions to stored cases: oracles that agree, measured budgets, and a use for every case.

No case is written unless the oracles agree, variants held out of the budget pass, and either a seeded fault exceeds
the budget threefold or the case says what else it is for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from atlas_ref import __version__
from atlas_ref.errors import UserError
from spec_tests.contract.operations import OPERATIONS
from spec_tests.faults.catalogue import CATALOGUE
from spec_tests.port import Array, Numerics
from spec_tests.vectors.case import DATA, MANIFEST, Case, load_cases
from spec_tests.vectors.ensemble import Ensemble, answers, budgets, ensemble, excess, with_state_of_float32, worst
from spec_tests.vectors.margin import killed, margins
from spec_tests.vectors.question import Question
from spec_tests.vectors.source import Source
from spec_tests.vectors.store import write_cases
from spec_tests.vectors.truth import Truth, truth

Say = Callable[[str], None]

LARGEST: Final = 6_000_000
"""Most bytes that the stored cases may take."""


def fill(sources: Iterable[Source], data: Path = DATA, say: Say = print, *, keep: bool = False) -> tuple[Case, ...]:
    """Compute and write a case for every source; raise UserError for one that cannot be admitted.

    `keep`: a stored case whose question is still the same stays as it is, bit for bit.
    """
    kept = {case.id: case for case in load_cases(data=data)} if (data / MANIFEST).exists() else {}
    cases = []
    for source in sources:
        stored = kept.get(source.id)
        _refuse_silent_change(source, stored)
        if keep and stored is not None and stored.provenance["source_sha256"] == source.sha256():
            cases.append(replace(stored, requirements=source.requirements, why=source.why))
            continue
        cases.append(fill_case(source))
        say(f"{source.id}: agree to {cases[-1].provenance['agreement']}, kills {len(cases[-1].kills)}")
    write_cases(cases, data)
    for line in coverage(cases):
        say(line)
    return tuple(cases)


def question_of(source: Source) -> Question:
    """Return the question of a source, in the precision in which it is stored."""
    return Question(source.op, source.config, source.settled(), source.asked(), source.traced)


def fill_case(source: Source) -> Case:
    """Return the case of a source; raise UserError where it cannot be admitted."""
    question = question_of(source)
    found = truth(source.id, question)
    variants = ensemble(question)
    measured = {numerics: budgets(question, found.expected, variants, numerics) for numerics in source.numerics}
    allowed = with_state_of_float32(source.op, measured)
    for numerics in source.numerics:
        _require_held_out(source, question, found, variants, allowed[numerics], numerics)
    sizes = margins(question, found.expected, allowed)
    kills = killed(sizes)
    if not kills and not source.beside:
        raise UserError(f"{source.id}: no seeded fault exceeds its budgets threefold, and it is for nothing else.")
    return Case(
        id=source.id,
        revision=source.revision,
        op=source.op,
        level=OPERATIONS[source.op].level,
        requirements=source.requirements,
        why=source.why,
        # As it is read back, so that a second fill writes the same file.
        config=OPERATIONS[source.op].configured(source.config),
        inputs=question.inputs,
        cotangents=question.cotangents,
        expected={name: np.array(value) for name, value in found.expected.items()},
        budgets=allowed,
        kills=kills,
        provenance=_provenance(source, found, variants),
        since=source.since,
    )


def _require_held_out(
    source: Source,
    question: Question,
    found: Truth,
    variants: Ensemble,
    allowed: Mapping[str, Array],
    numerics: Numerics,
) -> None:
    for answer in answers(variants.held_out, question, numerics):
        units = excess(question, answer, found.expected, allowed)
        if worst(units) > 1.0:
            name = max(units, key=lambda key: units[key])
            raise UserError(f"{source.id}: a correct variant exceeds the budget of {name} in {numerics}.")


def _provenance(source: Source, found: Truth, variants: Ensemble) -> dict[str, str]:
    return {
        "oracles": f"atlas_ref {__version__} (torch), numpy_loops {np.__version__} (numpy)",
        "agreement": f"{found.agreement:.1e}",
        "variants": f"{len(variants.admitted)} and {len(variants.held_out)} held out",
        "source_sha256": source.sha256(),
    }


def _refuse_silent_change(source: Source, stored: Case | None) -> None:
    """Refuse another question under the same id and revision: whoever cites them means the stored one."""
    if stored is None or stored.revision != source.revision:
        return
    if stored.provenance["source_sha256"] != source.sha256():
        raise UserError(f"{source.id}: another question than the stored one; give it revision {source.revision + 1}.")


def coverage(cases: Iterable[Case]) -> Iterator[str]:
    """Yield the seeded faults that no case kills, by operation."""
    kills = {name for case in cases for name in case.kills}
    ops = {case.op for case in cases}
    for op in dict.fromkeys(fault.op for fault in CATALOGUE):
        faults = [fault.id for fault in CATALOGUE if fault.op == op]
        missed = [name for name in faults if name not in kills]
        state = "no case" if op not in ops else f"{len(faults) - len(missed)} of {len(faults)} faults killed"
        yield f"{op}: {state}" + (f"; not {', '.join(missed)}" if missed and op in ops else "")
