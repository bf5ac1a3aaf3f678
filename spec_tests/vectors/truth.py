"""The answer to a question: that of the reference in float64, admitted only where the numpy loops agree.

The two share no code and no author's shortcut: one is torch with automatic differentiation, the other loops transcribed
from docs/spec with derivatives by the complex step. What only the loops show, the gradient that a write takes in, is
held against the reference through the recurrence S = theta S + intake g.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np

from atlas_ref.errors import UserError
from spec_tests.port import Array, Numerics, Op, Port, Scalar
from spec_tests.ports.numpy import NumpyPort
from spec_tests.ports.reference import ReferencePort
from spec_tests.vectors.compare import distances, errors, names
from spec_tests.vectors.question import SEQUENCES, Question, replay

AGREEMENT: Final = 1e-12
"""Largest error between the two oracles, in the measure of `compare`."""


@dataclass(frozen=True)
class Truth:
    """What both oracles say, and the largest error between them."""

    expected: Mapping[str, Array]
    agreement: float


@cache
def reference() -> Port:
    """Return the reference."""
    return ReferencePort()


@cache
def loops() -> Port:
    """Return the second oracle."""
    return NumpyPort()


def truth(name: str, question: Question) -> Truth:
    """Return the answer to a question; raise UserError where the oracles disagree, naming the tensor."""
    expected, second = of_reference(question), of_loops(question)
    for hidden in second.keys() - expected.keys():
        expected[hidden] = second[hidden]
    gaps = {key: float(gap.max(initial=0.0)) for key, gap in distances(question.op, second, expected).items()}
    if expected.get("gradient", np.zeros(0)).size:
        gaps["gradient"] = _recurrence_gap(question, expected)
    worst = max(gaps, key=lambda key: gaps[key])
    if not gaps[worst] <= AGREEMENT:
        raise UserError(
            f"{name}: the two oracles differ by {gaps[worst]:.2g} in {worst}; at most {AGREEMENT} is valid."
        )
    return Truth(expected, gaps[worst])


def of_reference(question: Question) -> dict[str, Array]:
    """Return what the reference answers in float64, with the state after every token of a sequence."""
    answer = question.put(reference(), Numerics.F64)
    if question.with_states:
        tokens = question.inputs["reset"].shape[1]
        answer |= replay(question, reference(), Numerics.F64, tokens)
    return answer


def of_loops(question: Question) -> dict[str, Array]:
    """Return what the loops answer in float64; a form without taps shows those of the recurrence."""
    answer = question.put(loops(), Numerics.F64)
    if question.with_states:
        answer |= replace(question, op=SEQUENCES[question.op], cotangents={}).put(loops(), Numerics.F64)
    return {name: value for name, value in answer.items() if name in names(question.op)}


def _recurrence_gap(question: Question, expected: Mapping[str, Array]) -> float:
    """Return how far theta S + intake g, with the g of the loops, is from the S of the reference."""
    inputs = question.inputs
    if question.op is Op.MEMORY_STEP:
        first = (inputs["reset"] != 0) | (inputs["position"] == 0)
        before, after = np.where(first[:, None, None], 0.0, inputs["momentum"]), expected["momentum"]
    else:
        after = expected["momentum_trace"]
        before = np.concatenate([inputs["momentum"][:, None], after[:, :-1]], axis=1)
        first = inputs["reset"] != 0
        first[:, 0] |= inputs["position"] == 0
        before = np.where(first[..., None, None], 0.0, before)
    theta, intake = _factors(question.config, inputs)
    return float(errors(theta * before + intake * expected["gradient"], after, None)[0])


def _factors(config: Mapping[str, Scalar], inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return theta and the factor of g, with an axis for the parameters (chapter RULE)."""
    gates = {name: inputs[name].astype(np.float64)[..., None] for name in ("momentum_decay", "step_size")}
    theta = 0.0 * gates["momentum_decay"] if config["rule"] == "delta" else gates["momentum_decay"]
    step, fresh = gates["step_size"], np.ones_like(theta)
    if config["step_scale"] == "mass":
        bound = float(config["momentum_max"])
        horizon = 0.0 if config["rule"] == "delta" else bound / (1.0 - bound)
        step, fresh = step / (int(config["chunk"]) + horizon), 1.0 - theta
    return theta, -step * fresh if config["rule"] in ("titans", "atlas_appendix") else fresh
