"""Stored cases of the memory over one token: every rule with every memory."""

from typing import Any, Final

import numpy as np

from spec_tests.chapters.memory_step.calls import rule
from spec_tests.chapters.memory_step.covering import (
    QUARTER,
    covering_cases,
    covering_gradients,
    few_cells,
    sized_call,
    sized_cases,
)
from spec_tests.chapters.memory_step.stored_calls import (
    FIXED,
    HIDDEN,
    VALUES,
    at_the_start,
    call,
    fixed,
    step,
    without_momentum,
    without_retention,
)
from spec_tests.port import Array, Numerics, Op, Scalar
from spec_tests.vectors.source import Family, Source

_ONE: Final[dict[str, Any]] = {"window": 1, "position": (5, 6)}
_FIXED: Final[dict[str, Any]] = {**FIXED, "time": 1}
_STEP: Final = Family("STEP", Op.MEMORY_STEP)
Inputs = dict[str, Array]


def _far_below_zero(inputs: Inputs) -> Inputs:
    """Return a step that writes nothing and reads W1 gelu(z) with every z near -3.3, the identity part small."""
    batch, heads, features = inputs["queries"].shape
    queries = 0.125 * inputs["queries"]
    inner = -3.3 * queries / (queries**2).sum(-1, keepdims=True)
    units = (inner[:, :, None] * np.array([0.95, 1.0, 1.05])[:, None]).reshape(batch, heads, -1)
    outer = 30.0 * inputs["weights"][..., : -features * HIDDEN]
    gates = {"retention": np.ones((batch, heads)), "step_size": np.zeros((batch, heads))}
    return {**inputs, **gates, "queries": queries, "weights": np.concatenate([outer, units], axis=-1)}


def _step(number: int, requirements: str, why: str, config: dict[str, Scalar], **changes: Any) -> Source:
    turned = changes.pop("turned", ())
    # Rows: a document's first token, the first token of a later chunk, one in the middle of a chunk.
    inputs = call(config, 400 + number, **{"position": (0, 8, 6), "time": 1, **changes})
    for turn in turned:
        inputs = turn(inputs)
    return _STEP.case(number, requirements, why, config, step(inputs))


STORED: Final = (
    _step(
        1,
        "MEM-1 MEM-3 MEM-4 MEM-5 MEM-6 RULE-1 RULE-5 WIN-1",
        "titans: the step size inside the momentum; rows at the start of a document, of a chunk, and inside one",
        rule("titans"),
    ),
    _step(2, "MEM-1 MEM-3 RULE-1 RULE-6", "titans, MLP: gelu, residual, both gradients", rule("titans", "mlp")),
    _step(3, "MEM-1 RULE-1 WIN-1", "omega: the step size outside the momentum", rule("omega")),
    _step(
        4,
        "MEM-3 RULE-1 RULE-6",
        "omega, MLP, loss without the half: 2 loss_scale is not one",
        rule("omega", "mlp", loss_scale=1.0),
    ),
    _step(5, "MEM-4 RULE-1 RULE-4", "delta reads before its write and ignores momentum", rule("delta", read="pre")),
    _step(6, "MEM-3 RULE-1 RULE-4", "delta, MLP", rule("delta", "mlp")),
    _step(7, "RULE-2 RULE-11", "atlas: Newton-Schulz of the momentum, wide", rule("atlas")),
    _step(
        8,
        "RULE-2 RULE-11",
        "atlas, MLP: two matrices with their own norms",
        rule("atlas", "mlp"),
    ),
    _step(9, "RULE-3", "atlas_appendix: the step size inside Newton-Schulz", rule("atlas_appendix")),
    _step(10, "RULE-3 RULE-11", "atlas_appendix, MLP", rule("atlas_appendix", "mlp")),
    _step(
        11,
        "RULE-9 RULE-10",
        "titans by mass: window, fresh share, horizon, and keys shorter and longer than one",
        rule("titans", step_scale="mass"),
    ),
    _step(
        12,
        "RULE-9 RULE-10",
        "omega by mass, MLP: the curvature with its error term",
        rule("omega", "mlp", step_scale="mass"),
    ),
    _step(13, "RULE-9 RULE-10", "delta by mass has no horizon", rule("delta", step_scale="mass")),
    _step(
        14,
        "RULE-9 RULE-11",
        "atlas by mass: Newton-Schulz with a slope of one at zero",
        rule("atlas", step_scale="mass"),
    ),
    _step(
        15,
        "RULE-2",
        "atlas with one step of the published set, batch of one",
        rule("atlas", coefficients="polar_express", newton_schulz_steps=1),
        position=(5,),
    ),
    _step(
        16,
        "MEM-5",
        "a mark in the middle of a document resets, whatever the state holds",
        rule("omega", "mlp"),
        resets=((1, 0), (2, 0)),
    ),
    _step(17, "RULE-1 RULE-6", "b = 1, c = 1: the plain gradient step", rule("titans", "mlp", chunk=1), window=1),
    _step(
        19, "RULE-2 RULE-11", "atlas: Newton-Schulz of a matrix with more rows than columns", rule("atlas"), features=2
    ),
    _STEP.case(
        20,
        "MEM-3",
        # In float64 the last digits are those of one library's erf: 1 + erf cancels.
        "gelu far below zero, where approximations of it are off by a tenth",
        rule("titans", "mlp"),
        _far_below_zero(step(call(rule("titans", "mlp"), 420, position=(5, 6), time=1))),
        numerics=(Numerics.F32, Numerics.BF16_IO),
    ),
    _step(
        18,
        "RULE-9 RULE-10",
        "titans by mass, MLP: kappa from the anchor of each row",
        rule("titans", "mlp", step_scale="mass"),
    ),
    # The plainest memories, b = c = 1: what most code in public has, and no more than that.
    _step(21, "RULE-1 RULE-5", "titans, b = c = 1: the equation of the paper", rule("titans", chunk=1), **_ONE),
    _step(
        22,
        "MEM-4 RULE-1 RULE-6",
        "titans, b = c = 1, reads before the write, loss without the half",
        rule("titans", chunk=1, read="pre", loss_scale=1.0),
        **_ONE,
    ),
    _step(
        23,
        "RULE-1",
        "titans, b = c = 1, without retention: unit keys, one row, as many features as values",
        rule("titans", chunk=1),
        window=1,
        position=(5,),
        features=VALUES,
        turned=(without_retention,),
    ),
    _step(
        24,
        "MEM-1 RULE-1",
        "titans, b = c = 1, the first token of a document: no state is needed",
        rule("titans", chunk=1),
        window=1,
        position=(0,),
        features=VALUES,
        turned=(at_the_start,),
    ),
    _step(25, "MEM-5 RULE-1", "titans, b = c = 1, a mark", rule("titans", chunk=1), resets=((1, 0),), **_ONE),
    _step(26, "RULE-1 WIN-5", "omega, b = c = 1: the step size outside the momentum", rule("omega", chunk=1), **_ONE),
    _step(
        27,
        "MEM-4 RULE-1 RULE-6",
        "omega, b = c = 1, reads before the write, loss without the half",
        rule("omega", chunk=1, read="pre", loss_scale=1.0),
        **_ONE,
    ),
    _step(
        28,
        "RULE-1 RULE-4 CHUNK-4",
        "delta, b = 1, without retention: unit keys, one row, as many features as values",
        rule("delta", chunk=1),
        position=(5,),
        features=VALUES,
        turned=(without_retention,),
    ),
    _step(
        31,
        "RULE-9",
        "atlas by mass: the slope is that of the coefficients as they are applied, four different steps of a set",
        rule("atlas", step_scale="mass", coefficients="polar_express", newton_schulz_steps=4),
    ),
    _step(
        32,
        "RULE-9 RULE-11",
        "atlas_appendix by mass, MLP: three steps of another set",
        rule("atlas_appendix", "mlp", step_scale="mass", coefficients="cubic", newton_schulz_steps=3),
    ),
    _step(
        29,
        "RULE-1",
        "titans, b = c = 1, gates that never change: what code with numbers for gates has",
        rule("titans", chunk=1),
        turned=(at_the_start, fixed),
        **_FIXED,
    ),
    _step(
        30,
        "RULE-1",
        "omega, b = c = 1, without momentum and retention, unit keys: one step down the loss",
        rule("omega", chunk=1),
        turned=(fixed, without_momentum),
        **{**_FIXED, "position": (5,)},
    ),
    *covering_cases(_STEP, 101, 40_000),
    *covering_gradients(_STEP, 151, 41_000, few_cells(), "RULE-1 RULE-6"),
    *sized_cases(_STEP, 161, 42_000),
    _STEP.case(
        171,
        "RULE-2 RULE-11 MEM-1",
        "one head of usual width: 64 features, 16 values",
        rule("atlas", chunk=16),
        step(sized_call(rule("atlas", chunk=16), 43_000, QUARTER, (40,), ())),
    ),
)
