"""Where a port first leaves a stored case: the step, the tensor, what still agreed there, and how it may have happened.

Tensors are compared step by step, in the order in which one follows from another: taps, outputs in the order of the
table, gradients. What comes earliest is the finding. A port that shows no state inside a sequence is asked again for
ever longer beginnings of it, until the state differs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.outcome import Divergence, DivergenceError, FormError, PortError
from spec_tests.port import Array, Numerics, Port
from spec_tests.vectors.case import Case
from spec_tests.vectors.compare import GRADIENT, TRACES, by_step, distances, names, steps_axis
from spec_tests.vectors.explain import explain
from spec_tests.vectors.hint import seek
from spec_tests.vectors.question import Question, replay

Answer = Mapping[str, Array]
Place = tuple[int, int]

LAST: Final = 10**9
"""Where a tensor without steps stands among the steps: after all of them."""


@dataclass(frozen=True)
class Judgement:
    """What became of a case: its first divergence, None where there is none, and the taps that the port did not show.

    `answer` is what was compared, floats in float64.
    """

    divergence: Divergence | None
    untapped: tuple[str, ...]
    answer: Answer = field(default_factory=dict, repr=False)


def judge(port: Port, case: Case, numerics: Numerics) -> Judgement:
    """Put a case to a port and compare; raise FormError, PortError or UndeclaredError where nothing can be compared."""
    question = case.question
    found = judge_answer(case, numerics, question.put(port, numerics))
    if found.divergence is None or not question.with_states or found.divergence.tensor.startswith(GRADIENT):
        return found
    return replace(found, divergence=_replayed(port, question, case, numerics, found))


def judge_answer(case: Case, numerics: Numerics, answer: Answer) -> Judgement:
    """Compare an answer, in the form of `Question.put`, with a case."""
    untapped = tuple(
        tensor.name for tensor in OPERATIONS[case.op].taps if tensor.name in case.expected.keys() - answer.keys()
    )
    return Judgement(_first(case, numerics, answer), untapped, answer)


def check(port: Port, case: Case, numerics: Numerics) -> tuple[str, ...]:
    """Return the taps that the port did not show; raise DivergenceError with a report where it diverges."""
    found = judge(port, case, numerics)
    if found.divergence is not None:
        raise diverged(case, numerics, found, found.divergence)
    return found.untapped


def diverged(case: Case, numerics: Numerics, found: Judgement, divergence: Divergence) -> DivergenceError:
    """Return the error that reports a divergence, with the seeded fault that comes nearest."""
    hint = seek(case, divergence.tensor, found.answer)
    divergence = replace(divergence, likely=hint.likely)
    if hint.nearest is not None:
        divergence = replace(divergence, hint=hint.nearest.names[0], similarity=hint.nearest.similarity)
    return DivergenceError(explain(case, numerics, divergence, found.answer, found.untapped, hint.words), divergence)


def _replayed(port: Port, question: Question, case: Case, numerics: Numerics, found: Judgement) -> Divergence | None:
    """Return the first divergence when the state after each token is known too."""
    shown, tokens = found.divergence, case.inputs["reset"].shape[1]
    if shown is None or TRACES.keys() <= found.answer.keys():
        return shown
    tokens = tokens if shown.step is None else shown.step + 1
    try:
        states = replay(question, port, numerics, tokens)
    except (FormError, PortError):
        # Shorter calls fail in another way; what the whole call showed stands.
        return shown
    # What was not asked counts as right.
    whole = {name: np.concatenate([state, case.expected[name][:, tokens:]], 1) for name, state in states.items()}
    return _first(case, numerics, {**whole, **found.answer})


def _first(case: Case, numerics: Numerics, answer: Answer) -> Divergence | None:
    """Return the earliest place where an error exceeds its budget."""
    errors = distances(case.op, answer, case.expected)
    steps = {name: _step(name, errors[name], case.budgets[numerics][name]) for name in errors}
    places = {name: _place(case, name, step) for name, step in steps.items() if step is not None}
    if not places:
        return None
    name = min(places, key=lambda key: places[key])
    before = names(case.op)[: names(case.op).index(name)]
    upstream = tuple(key for key in before if key in errors and (key not in places or places[key] > places[name]))
    step = steps[name] or 0
    error, budget = (float(values[step]) for values in (errors[name], case.budgets[numerics][name]))
    return _divergence(case, name, step, answer[name], upstream, error, budget)


def _step(name: str, errors: Array, budget: Array) -> int | None:
    """Return the first step over the budget, for gradients the last: they are computed from the end."""
    over = np.flatnonzero(~(errors <= budget))
    if not len(over):
        return None
    return int(over[-1] if name.startswith(GRADIENT) else over[0])


def _place(case: Case, name: str, step: int) -> Place:
    """Return where a divergence stands in the course of the computation: gradients after all outputs."""
    timed = steps_axis(case.op, name) is not None
    if name.startswith(GRADIENT):
        return (1, -step if timed else 1)
    return (0, step if timed else LAST)


def _divergence(
    case: Case, name: str, step: int, actual: Array, upstream: tuple[str, ...], error: float, budget: float
) -> Divergence:
    """Describe a divergence of one tensor at one step by its worst element."""
    axis = steps_axis(case.op, name)
    got, expected = by_step(actual, axis)[step], by_step(case.expected[name], axis)[step]
    with np.errstate(all="ignore"):
        gap = np.nan_to_num(np.abs(got - expected), nan=np.inf)
    place = tuple(int(i) for i in np.unravel_index(int(np.argmax(gap)), gap.shape)) if np.ndim(gap) else ()
    return Divergence(
        tensor=name,
        step=None if axis is None else step,
        index=place,
        got=float(got[place]),
        expected=float(expected[place]),
        error=error,
        budget=budget,
        upstream=upstream,
        hint=None,
        similarity=None,
    )
