"""Faults of StableMax; those of its loss are in `wrong_losses`."""

from typing import Final

import numpy as np

from spec_tests.chapters.stablemax import wrong_losses
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


def _over_the_largest(_: Config, x: Arrays, __: Arrays) -> Arrays:
    s = stablemax(x["x"].astype(np.float64))
    return {"probabilities": s / s.max(-1, keepdims=True)}


def _without_one(_: Config, x: Arrays, __: Arrays) -> Arrays:
    return _probabilities(np.where(x["x"] >= 0, x["x"] + 1e-30, 1 / (1 - np.minimum(x["x"], 0))))


def _elu(_: Config, x: Arrays, __: Arrays) -> Arrays:
    return _probabilities(np.where(x["x"] >= 0, x["x"] + 1.0, np.exp(np.minimum(x["x"], 0))))


def _sum_in_single(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Add up s in float32 whatever it comes to: a finite share of an infinite sum is zero."""
    s = np.maximum(x["x"], 0.0).astype(np.float32)
    lost = np.isinf(s.sum(-1, keepdims=True, dtype=np.float32))
    return {"probabilities": np.where(lost, 0.0, outputs["probabilities"])}


def _sign_of_zero(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Write it as softmax(sign(x) log(1 + |x|)): the sign of zero has no derivative."""
    return {"grad.x": np.where(x["x"] == 0, 0.0, outputs["grad.x"])} if "grad.x" in outputs else {}


def _both_branches(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Select after computing both: 1 / (1 - x) divides by zero at 1, and zero times its derivative is no number."""
    return {"grad.x": np.where(x["x"] == 1, np.nan, outputs["grad.x"])} if "grad.x" in outputs else {}


BRANCHES = "test_stablemax:test_probabilities_are_proportional_to_the_two_branches"
HUGE = "test_stablemax:test_huge_logits_give_finite_probabilities_that_sum_to_one"
SLOPE = "test_stablemax:test_the_gradient_is_that_of_the_formula_at_zero_and_one_too"

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
        "STAB-3a",
        STAB,
        "test_stablemax:test_huge_logits_give_finite_probabilities_that_sum_to_one",
        with_inputs(lambda _, x: {"x": np.where(np.abs(x["x"]) > 1e29, np.inf, x["x"])}),
        "porting: squares overflow or underflow",
    ),
    Fault(
        "stab-gradient-of-one-branch",
        "STAB-4a",
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
    Fault("stab-divided-by-the-largest", "STAB-1a", STAB, BRANCHES, with_outputs(_over_the_largest), FLOOR_BRANCH_AXIS),
    Fault("stab-one-left-out", "STAB-1b", STAB, BRANCHES, with_outputs(_without_one), FLOOR_BRANCH_AXIS),
    Fault("stab-exponential-below-zero", "STAB-1c", STAB, BRANCHES, with_outputs(_elu), FLOOR_BRANCH_AXIS),
    Fault(
        "stab-sum-overflows",
        "STAB-3b",
        STAB,
        HUGE,
        with_outputs(_sum_in_single),
        "porting: squares overflow or underflow",
    ),
    Fault(
        "stab-gradient-zero-at-zero",
        "STAB-4b",
        STAB,
        SLOPE,
        with_outputs(_sign_of_zero),
        "porting: a division by zero, or its derivative",
    ),
    Fault(
        "stab-gradient-nan-at-one",
        "STAB-4c",
        STAB,
        SLOPE,
        with_outputs(_both_branches),
        "source: the branch that is not taken divides by zero, and its derivative is not a number",
    ),
    *wrong_losses.FAULTS,
)
