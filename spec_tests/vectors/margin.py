"""Which seeded faults a case tells from correct ports: those whose error is at least three budgets."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.contract.outcome import FormError, PortError
from spec_tests.faults.catalogue import CATALOGUE
from spec_tests.faults.fault import Fault, FaultyPort
from spec_tests.port import Array, Numerics, Op
from spec_tests.vectors.case import Budgets
from spec_tests.vectors.ensemble import excess, worst
from spec_tests.vectors.question import Question
from spec_tests.vectors.truth import reference

MARGIN: Final = 3.0


def faults_of(op: Op) -> tuple[Fault, ...]:
    """Return the seeded faults of an operation."""
    return tuple(fault for fault in CATALOGUE if fault.op == op)


def units(
    fault: Fault, question: Question, expected: Mapping[str, Array], budgets: Budgets, numerics: Numerics
) -> float:
    """Return the error of the reference with a fault, in budgets; infinite where there is no answer in form."""
    try:
        with np.errstate(all="ignore"):
            answer = question.put(FaultyPort(reference(), fault, numerics), numerics)
    except (FormError, PortError):
        return float(np.inf)
    return worst(excess(question, answer, expected, budgets[numerics]))


def margins(question: Question, expected: Mapping[str, Array], budgets: Budgets) -> dict[str, float]:
    """Return, for each fault of the operation, its smallest error in budgets over the profiles that it claims."""
    found = {}
    for fault in faults_of(question.op):
        profiles = [numerics for numerics in budgets if numerics in fault.numerics]
        measured = [units(fault, question, expected, budgets, numerics) for numerics in profiles]
        found[fault.id] = min(measured, default=0.0)
    return found


def killed(found: Mapping[str, float]) -> tuple[str, ...]:
    """Return the faults that exceed the budget threefold."""
    return tuple(name for name, size in found.items() if size >= MARGIN)
