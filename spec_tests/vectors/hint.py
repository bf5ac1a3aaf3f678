"""Which seeded fault errs most nearly as a port does: a hint for whoever has to find the cause, not a verdict.

Every fault of the operation, for the memory of all its operations, is run over the reference; the error of the port and
that of the fault are two vectors over all that is compared, and the fault with the largest cosine is named.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from typing import Final

import numpy as np

from spec_tests.faults.catalogue import CATALOGUE
from spec_tests.faults.fault import Fault, FaultyPort
from spec_tests.port import Array, Numerics, Op
from spec_tests.vectors.case import Case
from spec_tests.vectors.compare import distances, names
from spec_tests.vectors.question import SEQUENCES

SIMILAR: Final = 0.5
"""Least cosine that is worth a hint."""
TIE: Final = 1e-4
SHOWN: Final = 4
"""Most other faults that a report names beside the nearest."""
LARGEST: Final = 1e3
"""What an entry counts for that is not finite or far off, in units of the tensor's rms."""

MOST: Final = 3
"""Cases in which one tensor of an operation diverges first for which a report seeks a hint: seeking takes seconds."""
VOTES: Final = 8
"""Most faults that a case gives a report to vote on."""

Answer = Mapping[str, Array]


@dataclass(frozen=True)
class Nearest:
    """The faults that come nearest, indistinguishable in this case, and the cosine of their error with the port's."""

    names: tuple[str, ...]
    similarity: float


@dataclass(frozen=True)
class Hint:
    """What is said of a divergence: the nearest faults if any is near, and all that are not far off with their cosines.

    `likely` is None where no fault was sought.
    """

    words: str
    nearest: Nearest | None = None
    likely: tuple[tuple[str, float], ...] | None = None


_sought: defaultdict[tuple[Op, str], set[str]] = defaultdict(set)


def seek(case: Case, tensor: str, answer: Answer) -> Hint:
    """Return the hint for an answer that diverges at a tensor; none is sought after `MOST` cases that do so."""
    if find_spec("torch") is None:
        return Hint("not sought, as the reference needs torch, which is not installed")
    sought = _sought[case.op, tensor]
    if len(sought) < MOST:
        sought.add(case.id)
    if case.id not in sought:
        others = f"{MOST} other cases of {case.op} diverge at {tensor}"
        return Hint(f"not sought, as {others}; rerun this one alone for it")
    ranked = ranking(case, answer)
    likely = tuple((name, cosine) for name, cosine, _ in ranked[:VOTES] if cosine >= SIMILAR)
    nearest = _nearest(ranked)
    if nearest is None:
        return Hint("none resembles it", likely=likely)
    same = nearest.names[1 : SHOWN + 1]
    more = f" and {len(nearest.names) - SHOWN - 1} more" if len(nearest.names) > SHOWN + 1 else ""
    others = f"; here the same as {', '.join(same)}{more}" if same else ""
    words = f"{nearest.names[0]} (cosine {nearest.similarity:.2f}{others}): a hint, not a verdict"
    return Hint(words, nearest, likely)


def nearest_fault(case: Case, answer: Answer) -> Nearest | None:
    """Return the seeded faults whose error points most nearly where that of an answer points, None if none does."""
    return _nearest(ranking(case, answer))


def _nearest(ranked: list[tuple[str, float, float]]) -> Nearest | None:
    if not ranked or ranked[0][1] < SIMILAR:
        return None
    best = ranked[0][2]
    return Nearest(tuple(name for name, _, score in ranked if score >= best - TIE), ranked[0][1])


def ranking(case: Case, answer: Answer) -> list[tuple[str, float, float]]:
    """Return name, cosine and score of each fault that errs in a case, nearest first.

    The score is the cosine, less a little for another size of error: two faults may err in one direction.
    """
    known = [name for name in names(case.op) if name in answer and name in case.expected]
    found = []
    for fault, faulty in _faulty_answers(_Key(case)):
        common = [name for name in known if name in faulty and faulty[name].shape == answer[name].shape]
        mine, other = (_vector(case, common, given) for given in (answer, faulty))
        lengths = float(np.linalg.norm(mine)), float(np.linalg.norm(other))
        if min(lengths) > 0.0:
            cosine = float(mine @ other) / (lengths[0] * lengths[1])
            found.append((fault, cosine, cosine - 0.01 * float(np.linalg.norm(mine - other)) / max(lengths)))
    return sorted(found, key=lambda entry: -entry[2])


def _vector(case: Case, names: list[str], answer: Answer) -> Array:
    parts = [np.zeros(0)]
    for name in names:
        expected = case.expected[name].astype(np.float64)
        scale = float(np.sqrt((expected**2).mean())) if expected.size else 1.0
        with np.errstate(all="ignore"):
            error = (answer[name] - expected).ravel() / (scale or 1.0)
        parts.append(np.clip(np.nan_to_num(error, nan=LARGEST), -LARGEST, LARGEST))
    return np.concatenate(parts)


class _Key:
    """A case as a key of the cache: ids and revisions are unique."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def __hash__(self) -> int:
        return hash((self.case.id, self.case.revision))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and (other.case.id, other.case.revision) == (self.case.id, self.case.revision)


def candidates(op: Op) -> tuple[Fault, ...]:
    """Return the faults that an operation may have: its own first, then those of other operations of the same form.

    Those of gradients too: forms that are asked for their gradients may have them as much as `memory_grad` itself.
    """
    own = [fault for fault in CATALOGUE if fault.op == op]
    family = {Op.MEMORY_STEP: Op.MEMORY_SCAN, **SEQUENCES}
    others = [fault for fault in CATALOGUE if op in family and fault.op != op and family.get(fault.op) == family[op]]
    return (*own, *(replace(fault, op=op) for fault in others))


def _errs(case: Case, answer: Answer) -> bool:
    """Return whether a fault has an effect here, beyond rounding."""
    budgets = case.budgets[case.numerics[0]]
    return any((errors > budgets[name]).any() for name, errors in distances(case.op, answer, case.expected).items())


@cache
def _faulty_answers(key: _Key) -> tuple[tuple[str, Answer], ...]:
    """Return what the reference answers in float64 with each fault that is possible here.

    A change of the inputs may not fit every question, for instance one without an axis of time: it is left out then.
    """
    from spec_tests.ports.reference import ReferencePort

    case, found = key.case, []
    question = case.question
    for fault in candidates(case.op):
        try:
            with np.errstate(all="ignore"):
                answer = question.put(FaultyPort(ReferencePort(), fault, Numerics.F64), Numerics.F64)
        except AssertionError:
            continue
        if _errs(case, answer):
            found.append((fault.id, answer))
    return tuple(found)
