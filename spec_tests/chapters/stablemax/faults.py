"""Faults of StableMax."""

from typing import Final

import numpy as np

from spec_tests.chapters.stablemax.oracle import stablemax
from spec_tests.faults.fault import Arrays, Config, Fault, with_inputs, with_outputs
from spec_tests.port import Array, Op

STAB: Final = Op.STABLEMAX


def _probabilities(s: Array) -> Arrays:
    return {"probabilities": s / s.sum(-1, keepdims=True)}


def _softmax(_: Config, x: Arrays, __: Arrays) -> Arrays:
    return _probabilities(np.exp(x["x"] - x["x"].max(-1, keepdims=True)))


def _floored(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return _probabilities(outputs["probabilities"] + 1e-4)


def _one_branch_gradient(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    if "grad.x" not in outputs:
        return {}
    return {"grad.x": np.where(x["x"] < 0, outputs["grad.x"] * (1 - x["x"]) ** 2, outputs["grad.x"])}


def _over_the_batch(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    wide = stablemax(x["x"].astype(np.float64))
    return {"probabilities": wide * wide[:, :1].mean(0) / wide[:, :1]}


FLOOR_BRANCH_AXIS = "misreading: StableMax: a floor, the branch, the axis"

FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "stab-softmax",
        "STAB-1",
        STAB,
        "test_stablemax:test_probabilities_are_proportional_to_the_two_branches",
        with_outputs(_softmax),
        FLOOR_BRANCH_AXIS,
    ),
    Fault(
        "stab-floor",
        "STAB-2",
        STAB,
        "test_stablemax:test_a_small_logit_keeps_its_share",
        with_outputs(_floored),
        FLOOR_BRANCH_AXIS,
    ),
    Fault(
        "stab-overflow",
        "STAB-3",
        STAB,
        "test_stablemax:test_huge_logits_give_finite_probabilities_that_sum_to_one",
        with_inputs(lambda _, x: {"x": np.where(np.abs(x["x"]) > 1e29, np.inf, x["x"])}),
        "porting: squares overflow or underflow",
    ),
    Fault(
        "stab-gradient-of-one-branch",
        "STAB-4",
        STAB,
        "test_stablemax:test_the_gradient_is_that_of_the_formula_at_zero_and_one_too",
        with_outputs(_one_branch_gradient),
        FLOOR_BRANCH_AXIS,
    ),
    Fault(
        "stab-normalised-over-the-batch",
        "STAB-5",
        STAB,
        "test_stablemax:test_each_vector_stands_alone",
        with_outputs(_over_the_batch),
        FLOOR_BRANCH_AXIS,
    ),
)
