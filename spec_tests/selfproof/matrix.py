"""The fault catalogue against the suite: what notices each fault, and whether the report says where it is.

Three questions for every fault and precision. Does the test that claims the fault fail? Which stored cases exceed
their budget? And when the same fault sits in *another* implementation (the numpy loops, which share no code with the
reference that the hints are made with): does the report of the first divergence name the tensor and the step at which
the fault first shows, and does the hint name the fault?
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pytest

from spec_tests.contract.outcome import Outcome, classify
from spec_tests.faults.fault import Fault, FaultyPort, claimed_test
from spec_tests.port import Numerics, Port
from spec_tests.vectors.case import Case, absent
from spec_tests.vectors.compare import GRADIENT, TRACES, by_step, names, steps_axis
from spec_tests.vectors.hint import TIE, ranking
from spec_tests.vectors.judge import LAST, Answer, judge
from spec_tests.vectors.question import replay

SHOWS: Final = 1e-9
"""A tensor shows a fault where its float64 value is off by this much of its largest entry."""
SAMPLE: Final = 2
"""Stored cases of each fault whose reports are read."""


@dataclass
class Row:
    """What was found of one fault; `noticed` by precision, `located` and `hinted` as (right, asked).

    A hint is right where the fault is the nearest or errs as the nearest does; `alone` counts those with no equal.
    """

    fault: str
    requirement: str
    operation: str
    test: str
    noticed: dict[str, bool] = field(default_factory=dict)
    argument: str = ""
    cases: tuple[str, ...] = ()
    located: tuple[int, int] = (0, 0)
    hinted: tuple[int, int] = (0, 0)
    alone: int = 0
    missed: list[str] = field(default_factory=list)

    @property
    def survives(self) -> bool:
        """Whether some precision in which the fault must be noticed does not notice it."""
        return not all(self.noticed.values())


def claimed_test_fails(fault: Fault, numerics: Numerics, sound: Port) -> bool:
    """Whether the test that claims a fault fails, for what the port computes and not for its form."""
    try:
        claimed_test(fault)(port=FaultyPort(sound, fault, numerics))
    except pytest.skip.Exception:
        return False
    except AssertionError as error:
        return classify(error) is Outcome.FAIL
    return False


def row_of(fault: Fault, cases: tuple[Case, ...], sound: Port, other: Port) -> Row:
    """Return everything that the suite says of one fault; `other` is the implementation in which it is looked for."""
    row = Row(fault.id, fault.requirement, fault.op, fault.killed_by, argument=fault.argument)
    row.noticed = {numerics: claimed_test_fails(fault, numerics, sound) for numerics in fault.numerics}
    killing = [case for case in cases if fault.id in case.kills and case.op == fault.op]
    row.cases = tuple(case.id for case in killing)
    for case in killing[:SAMPLE]:
        for numerics in (numerics for numerics in fault.numerics if numerics in case.numerics):
            if absent(other.declare(), case, numerics) is None:
                _read_report(row, fault, case, numerics, sound, other)
    return row


def _read_report(row: Row, fault: Fault, case: Case, numerics: Numerics, sound: Port, other: Port) -> None:
    """Judge the other implementation with the fault in it, and compare the report with what is known of the fault."""
    try:
        found = judge(FaultyPort(other, fault, numerics), case, numerics)
    except AssertionError:
        return  # A change of the inputs may not fit this question: there is no report to read.
    place = first_difference(case, fault, sound)
    if found.divergence is None or place is None:
        return
    right = (found.divergence.tensor, found.divergence.step) in place
    row.located = (row.located[0] + right, row.located[1] + 1)
    ranked = ranking(case, found.answer)
    nearest = [name for name, _, score in ranked if score >= ranked[0][2] - TIE]
    hinted = fault.id in nearest
    row.hinted = (row.hinted[0] + hinted, row.hinted[1] + 1)
    row.alone += nearest == [fault.id]
    if not right:
        told = f"{found.divergence.tensor} at {found.divergence.step}"
        row.missed.append(f"{case.id} {numerics}: says {told}, it is {sorted(place, key=str)}")
    if not hinted:
        row.missed.append(f"{case.id} {numerics}: the hint is {nearest[0] if nearest else 'nothing'}")


def first_difference(case: Case, fault: Fault, sound: Port) -> set[tuple[str, int | None]] | None:
    """Return the tensors that differ first, with the step, between the reference and the reference with the fault.

    Several, where they differ at the same step: which of them is first in the order of the table is the judge's to say.
    """
    try:
        faulty = _answer_and_states(case, FaultyPort(sound, fault, Numerics.F64))
    except AssertionError:
        return None
    places = dict(_differences(case, _answer_and_states(case, sound), faulty))
    if not places:
        return None
    earliest = min(places.values())
    return {
        (name, None if steps_axis(case.op, name) is None else abs(place[1]))
        for name, place in places.items()
        if place == earliest
    }


def _answer_and_states(case: Case, port: Port) -> Answer:
    """Return the answer in float64 and, for the memory over a sequence, the state after every token."""
    question = case.question
    answer = question.put(port, Numerics.F64)
    if not question.with_states or TRACES.keys() <= answer.keys():
        return answer
    return {**replay(question, port, Numerics.F64, case.inputs["reset"].shape[1]), **answer}


def _differences(case: Case, sound: Answer, faulty: Answer) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield each tensor that differs and where: outputs before gradients, which are computed from the end."""
    for name in names(case.op):
        if name not in sound or name not in faulty:
            continue
        axis = steps_axis(case.op, name)
        gap = np.nan_to_num(np.abs(by_step(faulty[name], axis) - by_step(sound[name], axis)), nan=np.inf)
        if not gap.size:
            continue
        scale = float(np.abs(sound[name]).max(initial=0.0)) or 1.0
        steps = np.flatnonzero(gap.reshape(len(gap), -1).max(1, initial=0.0) > SHOWS * scale)
        if not len(steps):
            continue
        if name.startswith(GRADIENT):
            yield name, (1, -int(steps[-1]) if axis is not None else 1)
        else:
            yield name, (0, int(steps[0]) if axis is not None else LAST)
