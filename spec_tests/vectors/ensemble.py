"""What rounding does to correct implementations: the budgets of a case, measured and never set by hand.

Fifteen legitimate variants or more answer the question in the profile: the numpy loops in four orders of summation,
the reference, its other form of the memory, both with rows, heads, channels, features and values relabelled, and the
reference with every input moved by one unit in its last place, or left: functions of one entry have no sums to
reorder, and no library's tanh or erf is better than the answer to a question that near. The budget of a tensor at a
step is the largest error of any variant up to that step, times `FACTOR`, and at least `ROUNDINGS` times the precision
of the profile. State in `bf16_io` is of float32 as in `f32`, so it has no less than its budget there. Other variants
are held out: they must pass, or the case is refused.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Final

import numpy as np

from spec_tests.contract.operations import OPERATIONS
from spec_tests.oracle.sums import ORDERS, Order
from spec_tests.port import Array, Numerics, Op
from spec_tests.ports.numpy import NumpyPort
from spec_tests.vectors.compare import (
    EPSILON,
    GRADIENT,
    by_step,
    distances,
    epsilon,
    names,
    schema_of,
    steps_axis,
)
from spec_tests.vectors.inside import computing_inside, sums_in
from spec_tests.vectors.permute import relabelling, symmetries
from spec_tests.vectors.question import SEQUENCES, Question, replay
from spec_tests.vectors.truth import reference

FACTOR: Final[Mapping[Numerics, float]] = {
    Numerics.F64: 64.0,
    Numerics.F32: 8.0,
    Numerics.BF16_IO: 4.0,
    Numerics.BF16_INSIDE: 4.0,
    Numerics.TF32: 4.0,
}
ROUNDINGS: Final = 4.0
ADMITTED: Final = (1, 2, 3, 4)
HELD_OUT: Final = (5, 6)
NUDGED: Final = (7, 8)
"""Seeds of the relabellings that make the budget, of those that must fit into it, and of the moved inputs."""
OTHER_FORM: Final[Mapping[Op, Op]] = {
    Op.MEMORY_SCAN: Op.MEMORY_CHUNKED,
    Op.MEMORY_CHUNKED: Op.MEMORY_SCAN,
    Op.MEMORY_GRAD: Op.MEMORY_SCAN,
    Op.MIRAS_SCAN: Op.MIRAS_CHUNKED,
    Op.MIRAS_CHUNKED: Op.MIRAS_SCAN,
}

Answer = Mapping[str, Array]
Budgets = Mapping[Numerics, Answer]
Variant = Callable[[Question, Numerics], Answer]


@dataclass(frozen=True)
class Ensemble:
    """The variants that make a budget, and those that are held out."""

    admitted: tuple[Variant, ...]
    held_out: tuple[Variant, ...]


def ensemble(question: Question) -> Ensemble:
    """Return the variants that fit a question."""
    groups = symmetries(question, reference())
    relabelled = partial(_relabelled, groups)
    plain: list[Variant] = [partial(_loops, order) for order in ORDERS]
    form = _traced_reference if question.with_states else _reference
    plain += [partial(form, other=other) for other in {False, other_form(question) is not question}]
    plain += [_differentiated_loops] if question.cotangents else []
    plain += [partial(_nudged, seed) for seed in NUDGED]
    admitted = [relabelled(seed, _reference) for seed in ADMITTED]
    admitted += [relabelled(seed, partial(_loops, order)) for seed, order in zip(ADMITTED, ORDERS, strict=True)]
    held_out = [relabelled(seed, partial(_reference, other=True)) for seed in HELD_OUT]
    held_out += [relabelled(seed, partial(_loops, order)) for seed, order in zip(HELD_OUT, ORDERS[2:], strict=True)]
    return Ensemble((*plain, *admitted), tuple(held_out))


def _reference(question: Question, numerics: Numerics, *, other: bool = False) -> Answer:
    """Return the answer of the reference; `other`: of its other form, where the operation has two."""
    with computing_inside(numerics):
        return _compared(question, (other_form(question) if other else question).put(reference(), numerics))


def other_form(question: Question) -> Question:
    """Return the question as another form of its operation is asked it; the same one where none can be."""
    op = OTHER_FORM.get(question.op, question.op)
    named = {key: values for key, values in OPERATIONS[op].config.items() if isinstance(values, tuple)}
    if any(question.config[key] not in values for key, values in named.items() if key in question.config):
        return question
    return replace(question, op=op) if op is not question.op else question


def _traced_reference(question: Question, numerics: Numerics, *, other: bool = False) -> Answer:
    """Return the answer of a form of the reference and the state after every token."""
    answer = _reference(question, numerics, other=other)
    form = other_form(question) if other else question
    return {**answer, **replay(form, reference(), numerics, question.inputs["reset"].shape[1])}


def _nudged(seed: int, question: Question, numerics: Numerics) -> Answer:
    """Return the answer to the same question with its inputs moved by a rounding of the profile, or left."""
    rng, unit = np.random.Generator(np.random.Philox(key=seed)), EPSILON[numerics]

    def moved(value: Array) -> Array:
        return value * (1.0 + unit * rng.integers(-1, 2, value.shape)) if value.dtype.kind == "f" else value

    return _reference(
        replace(question, inputs={name: moved(value) for name, value in question.inputs.items()}), numerics
    )


def _loops(order: Order, question: Question, numerics: Numerics) -> Answer:
    """Return the answer of the loops, without gradients: those are of float64 whatever the profile."""
    op = SEQUENCES.get(question.op, question.op)
    port = NumpyPort(sums_in(numerics, order))
    return _compared(question, replace(question, op=op, cotangents={}).put(port, numerics))


def _differentiated_loops(question: Question, _: Numerics) -> Answer:
    """Return the gradients of the loops, in float64 whatever the profile: another way to the same derivatives."""
    answer = question.put(NumpyPort(), Numerics.F64)
    return {name: value for name, value in answer.items() if name.startswith(GRADIENT)}


def _compared(question: Question, answer: Answer) -> Answer:
    """Leave out what another form shows beyond the answer to a question."""
    return {name: value for name, value in answer.items() if name in names(question.op)}


def _relabelled(groups: tuple[tuple[str, ...], ...], seed: int, variant: Variant) -> Variant:
    def answer(question: Question, numerics: Numerics) -> Answer:
        changed = relabelling(question, groups, seed)
        return changed.restore(question, variant(changed.relabel(question), numerics))

    return answer


def budgets(question: Question, expected: Answer, variants: Ensemble, numerics: Numerics) -> dict[str, Array]:
    """Return the largest error allowed to each tensor at each step."""
    found = [distances(question.op, answer, expected) for answer in answers(variants.admitted, question, numerics)]
    return {
        name: _budget(question.op, name, numerics, value, [errors[name] for errors in found if name in errors])
        for name, value in expected.items()
    }


def with_state_of_float32(op: Op, allowed: Budgets) -> Budgets:
    """Return the budgets of the profiles, those of state in `bf16_io` no smaller than in `f32`: one arithmetic."""
    if not {Numerics.F32, Numerics.BF16_IO} <= allowed.keys():
        return allowed
    wide, narrow = allowed[Numerics.F32], allowed[Numerics.BF16_IO]
    shared = {
        name: np.maximum(value, wide[name]) if schema_of(op, name).role == "state" else value
        for name, value in narrow.items()
    }
    return {**allowed, Numerics.BF16_IO: shared}


def answers(variants: tuple[Variant, ...], question: Question, numerics: Numerics) -> Iterator[Answer]:
    """Yield what variants answer."""
    return (variant(question, numerics) for variant in variants)


def _budget(op: Op, name: str, numerics: Numerics, expected: Array, found: list[Array]) -> Array:
    """Return the budget of one tensor from the errors of the variants; where all of them say zero, zero is exact."""
    if schema_of(op, name).role == "index":
        return np.zeros_like(found[0])
    envelope, axis = np.max(found, axis=0), steps_axis(op, name)
    # Rounding adds up from step to step; that of gradients, which come from the end, the other way round.
    rising = (
        np.maximum.accumulate(envelope[::-1])[::-1] if name.startswith(GRADIENT) else np.maximum.accumulate(envelope)
    )
    least = ROUNDINGS * epsilon(op, name, numerics)
    computed = [error > 0.0 or bool(step.any()) for error, step in zip(envelope, by_step(expected, axis), strict=True)]
    allowed = [_rounded_up(max(FACTOR[numerics] * error, least)) for error in rising]
    return np.where(computed, allowed, 0.0)


def _rounded_up(value: float) -> float:
    """Return the next number of two digits."""
    digits = int(np.floor(np.log10(value))) - 1
    return float(f"{np.ceil(value / 10.0**digits) * 10.0**digits:.1e}")


def excess(question: Question, answer: Answer, expected: Answer, budget: Answer) -> dict[str, float]:
    """Return the largest error of each tensor in units of its budget; integers that differ are infinitely wrong."""
    found = {}
    for name, errors in distances(question.op, answer, expected).items():
        allowed = budget[name]
        with np.errstate(all="ignore"):
            units = np.where(errors > 0.0, errors / allowed, 0.0)
        found[name] = float(units.max(initial=0.0))
    return found


def worst(units: Mapping[str, float]) -> float:
    """Return the largest of the errors in units of their budgets."""
    return max(chain(units.values(), (0.0,)))
