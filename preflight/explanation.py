"""Why a configuration does not pass, and the nearest one that does.

Every check that did not pass names the field that is likeliest to blame (`preflight.remedies`). Then the changes of all
of them are tried, each alone and then in twos and threes, with the gates that did not pass, until all of these pass or
the seconds are spent. The fewest changes that pass are the nearest configuration: it differs in nothing else.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, combinations
from time import perf_counter
from typing import NamedTuple

from atlas_ref.config import RunConfig, parse_config
from atlas_ref.config.model import ModelConfig
from atlas_ref.errors import UserError
from atlas_ref.training.clipping import NonFiniteError
from preflight.budget import default_budget
from preflight.gates import gates_of
from preflight.remedies import Change, changes_for, field_of
from preflight.result import Check, GateResult, Verdict
from preflight.subject import Subject

SECONDS = 120.0
"""What trying may take, unless the command line says otherwise: no try begins that may not end in time."""
MOST_TOGETHER = 3
"""Changes at a time."""


class Blame(NamedTuple):
    """A check that did not pass, with the gate that it is of and the field that is likeliest to blame, if any."""

    gate: str
    check: Check
    field: str | None
    change: Change


class Explanation(NamedTuple):
    """What is to blame, the changes that pass (None where none was found), and how many were tried."""

    blames: tuple[Blame, ...]
    passing: Change | None
    tried: int


def blames_of(config: RunConfig, results: Sequence[GateResult]) -> list[Blame]:
    """Return every check that did not pass, the worst first, with what to blame."""
    found = []
    for result in results:
        for check in result.checks:
            if check.verdict is not Verdict.PASS:
                change = next(_changes(config, check), ())
                found.append(Blame(result.gate, check, field_of(change) if change else None, change))
    return sorted(found, key=lambda blame: (blame.check.verdict is not Verdict.FAIL, blame.field is None))


def explain(
    config: RunConfig, results: Sequence[GateResult], subject: Subject, seconds: float = SECONDS
) -> Explanation:
    """Return what keeps a configuration from passing, and the nearest one that passes (module docstring)."""
    blames, started = blames_of(config, results), perf_counter()
    failed = [result.gate for result in results if result.verdict is not Verdict.PASS]
    longest, tried = sum(result.seconds for result in results if result.gate in failed), 0
    for change in _nearest_first(config, [blame.check for blame in blames]):
        if perf_counter() - started + longest > seconds:
            break
        tried += 1
        if _passes(config, change, failed, subject):
            return Explanation(tuple(blames), change, tried)
    return Explanation(tuple(blames), None, tried)


def _changes(config: RunConfig, check: Check) -> Iterator[Change]:
    """Yield the changes for one check; of a model of another family nothing is known."""
    if isinstance(config.any_model, ModelConfig):
        yield from changes_for(config, check.name, check.statistic, check.threshold)


def _nearest_first(config: RunConfig, checks: Sequence[Check]) -> Iterator[Change]:
    """Yield the changes of all checks, each once: alone, then together; of one field only one value at a time."""
    single = list(dict.fromkeys(chain.from_iterable(_changes(config, check) for check in checks)))
    for count in range(1, MOST_TOGETHER + 1):
        for several in combinations(single, count):
            together = tuple(chain.from_iterable(several))
            if len({change.partition("=")[0] for change in together}) == len(together):
                yield together


def _passes(config: RunConfig, change: Change, gates: Sequence[str], subject: Subject) -> bool:
    """Return whether a changed configuration is one, and passes the gates; the first that does not ends the try."""
    try:
        changed = parse_config(config.model_dump(), "explain", change)
        budget, known = default_budget(changed), gates_of(changed)
        return all(known[name](changed, subject, changed.train.seed, budget).verdict is Verdict.PASS for name in gates)
    except (UserError, NonFiniteError):
        return False


def one_line(config: RunConfig, results: Sequence[GateResult]) -> str | None:
    """Return the likeliest reason in one line, without trying anything; None where nothing is to blame."""
    blame = next((each for each in blames_of(config, results) if each.field is not None), None)
    if blame is None:
        return None
    check = blame.check
    return (
        f"most likely {blame.field} ({check.name}: {check.statistic:.3g} against {check.threshold:.3g}); "
        f"try {' '.join(f'--set {change}' for change in blame.change)}, or atlas preflight --explain"
    )
