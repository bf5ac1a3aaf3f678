"""Faults of halting."""

from typing import Final

import numpy as np

from spec_tests.faults.fault import Arrays, Config, Fault, gradients_lost, with_outputs
from spec_tests.port import Op

ACT: Final = Op.ACT_HALT


def _not_summed(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Each probability is compared with the threshold by itself."""
    reached = x["probabilities"] >= float(config["threshold"])
    steps = np.where(reached.any(-1), reached.argmax(-1) + 1, x["probabilities"].shape[1])
    return {"halted": steps}


def _inverted(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """The threshold is what may remain: a higher one halts sooner."""
    total = np.cumsum(x["probabilities"], -1)
    reached = 1.0 - total <= float(config["threshold"])
    return {"halted": np.where(reached.any(-1), reached.argmax(-1) + 1, total.shape[1])}


def _no_remainder(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    step = np.arange(1, x["probabilities"].shape[1] + 1)
    return {"weights": np.where(step <= outputs["halted"][:, None], x["probabilities"], 0.0)}


def _cost_counts_steps(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return {"ponder": outputs["halted"].astype(np.float64)}


def _halts_together(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return {name: np.broadcast_to(value.max(0), value.shape) for name, value in outputs.items() if name[:5] != "grad."}


REMAINDER = "misreading: ACT: cumulated probability, remainder, cost"
HALTING_LOSS = "source: a loss of halting without a gradient, a threshold read the wrong way"


def _argmax_of_nothing(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Look for the first step that reaches the threshold by argmax, which is the first where none does."""
    reached = np.cumsum(x["probabilities"].astype(np.float64), -1)[:, -1] >= float(config["threshold"])
    return {"halted": np.where(reached, outputs["halted"], 1)}


def _cumulated(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    step = np.arange(1, x["probabilities"].shape[1] + 1)
    before = step < outputs["halted"][:, None]
    return {"weights": np.where(before, np.cumsum(x["probabilities"], -1), outputs["weights"])}


def _goes_on(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    step = np.arange(1, x["probabilities"].shape[1] + 1)
    return {"weights": np.where(step > outputs["halted"][:, None], x["probabilities"], outputs["weights"])}


ACT_WEIGHTS = "test_act:test_weights_are_probabilities_then_the_remainder"

FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "act-probabilities-not-summed",
        "ACT-1a",
        ACT,
        "test_act:test_a_row_halts_where_its_probabilities_add_up_to_the_threshold",
        with_outputs(_not_summed),
        REMAINDER,
    ),
    Fault(
        "act-threshold-inverted",
        "ACT-2",
        ACT,
        "test_act:test_a_higher_threshold_never_means_fewer_steps",
        with_outputs(_inverted),
        HALTING_LOSS,
    ),
    Fault(
        "act-without-remainder",
        "ACT-3b",
        ACT,
        "test_act:test_weights_are_probabilities_then_the_remainder",
        with_outputs(_no_remainder),
        REMAINDER,
    ),
    Fault(
        "act-cost-is-the-step-count",
        "ACT-4a",
        ACT,
        "test_act:test_the_cost_counts_steps_and_remainder_and_can_be_learned",
        with_outputs(_cost_counts_steps),
        HALTING_LOSS,
    ),
    Fault(
        "act-cost-has-no-gradient",
        "ACT-4b",
        ACT,
        "test_act:test_the_cost_counts_steps_and_remainder_and_can_be_learned",
        gradients_lost("probabilities"),
        HALTING_LOSS,
    ),
    Fault(
        "act-weights-have-no-gradient",
        "ACT-5",
        ACT,
        "test_act:test_the_gradient_of_the_weights_reaches_the_probabilities",
        gradients_lost("probabilities"),
        HALTING_LOSS,
    ),
    Fault(
        "act-rows-halt-together",
        "ACT-6",
        ACT,
        "test_act:test_rows_are_independent",
        with_outputs(_halts_together),
        "porting: one row or head for all",
    ),
    Fault(
        "act-argmax-of-nothing",
        "ACT-1b",
        ACT,
        "test_act:test_a_row_halts_where_its_probabilities_add_up_to_the_threshold",
        with_outputs(_argmax_of_nothing),
        REMAINDER,
    ),
    Fault("act-weights-add-up", "ACT-3a", ACT, ACT_WEIGHTS, with_outputs(_cumulated), REMAINDER),
    Fault("act-weights-go-on", "ACT-3c", ACT, ACT_WEIGHTS, with_outputs(_goes_on), REMAINDER),
)
