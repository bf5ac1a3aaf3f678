"""Faults of the running mean."""

from typing import Final

import numpy as np

from spec_tests.chapters.ltm.oracle import running_mean
from spec_tests.faults.fault import (
    Arrays,
    Config,
    Fault,
    averaged,
    first_token_goes_on,
    gradients_lost,
    multiplied,
    with_inputs,
    with_outputs,
)
from spec_tests.port import Op, round_to_bf16

LTM: Final = Op.LTM_SCAN


def _sum(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Forgets the factor 1 - d."""
    share = 1.0 - float(config["decay"])
    scaled = {"x": x["x"].astype(np.float64) / (share or 1.0), "carry": x["carry"].astype(np.float64)}
    y, carry = running_mean(scaled["x"], scaled["carry"], x["position"], float(config["decay"]))
    return {"y": y, "carry": carry} if share else {"y": outputs["y"] + x["x"]}


def _detached(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Detaches the mean after every token, as the source system does: nothing before a token learns from it."""
    if "grad.x" not in outputs:
        return {}
    return {"grad.x": (1.0 - float(config["decay"])) * x["cotangent.y"], "grad.carry": 0.0 * outputs["grad.carry"]}


def _whole_mean(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"y": outputs["y"] + 0.1 * x["x"].mean(1, keepdims=True)}


def _later_go_on(_: Config, x: Arrays) -> Arrays:
    """Look for the start of a document at the first token of a call only."""
    first = np.arange(x["position"].shape[1]) == 0
    return {"position": np.where(first, x["position"], np.maximum(x["position"], 1))}


def _own_input_only(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {name: _detached(config, x, outputs)[name] for name in ("grad.x",) if name in outputs}


LTM_START = "test_ltm:test_a_document_starts_from_zero_whatever_came_before"
LTM_GRADIENT = "test_ltm:test_the_gradient_flows_through_every_step"

FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "ltm-sum",
        "LTM-1",
        LTM,
        "test_ltm:test_the_mean_moves_a_share_of_the_way_to_each_token",
        with_outputs(_sum),
        "misreading: an average or a sum",
    ),
    Fault(
        "ltm-not-reset",
        "LTM-2",
        LTM,
        "test_ltm:test_a_document_starts_from_zero_whatever_came_before",
        with_inputs(lambda _, x: {"position": x["position"] + 1}),
        "source: resets that nothing calls",
    ),
    Fault(
        "ltm-carry-forgotten",
        "LTM-3a",
        LTM,
        "test_ltm:test_any_split_gives_the_same_outputs",
        with_inputs(lambda _, x: {"carry": 0.0 * x["carry"]}),
        "source: a smaller batch begins its state again, or none is carried",
    ),
    Fault(
        "ltm-carry-averaged",
        "LTM-4a",
        LTM,
        "test_ltm:test_rows_are_independent",
        averaged("carry"),
        "source: state kept as the mean over the batch",
    ),
    Fault(
        "ltm-mean-of-all",
        "LTM-4b",
        LTM,
        "test_ltm:test_the_future_does_not_count",
        with_outputs(_whole_mean),
        "source: a sequence is written whole and read with the last state: the future leaks",
    ),
    Fault(
        "ltm-detached-at-every-step",
        "LTM-5",
        LTM,
        "test_ltm:test_the_gradient_flows_through_every_step",
        with_outputs(_detached),
        "source: detached writes: keys, values and gates learn nothing from the memory",
    ),
    Fault(
        "ltm-carry-counts-at-a-start",
        "LTM-2a",
        LTM,
        LTM_START,
        first_token_goes_on(),
        "source: resets that nothing calls",
    ),
    Fault(
        "ltm-reset-at-calls-only",
        "LTM-2b",
        LTM,
        LTM_START,
        with_inputs(_later_go_on),
        "source: resets that nothing calls",
    ),
    Fault(
        "ltm-carry-in-bfloat16",
        "LTM-3b",
        LTM,
        "test_ltm:test_any_split_gives_the_same_outputs",
        with_outputs(lambda _, __, y: {"carry": round_to_bf16(y["carry"])}),
        "source: accumulators in bfloat16 stall",
    ),
    Fault(
        "ltm-inputs-detached",
        "LTM-5a",
        LTM,
        LTM_GRADIENT,
        with_outputs(_own_input_only),
        "porting: a derivative that is missing, cut short or leaks",
    ),
    Fault(
        "ltm-carry-detached",
        "LTM-5b",
        LTM,
        LTM_GRADIENT,
        gradients_lost("carry"),
        "porting: a derivative that is missing, cut short or leaks",
    ),
    *multiplied("ltm", Op.LTM_SCAN, "LTM-2b", "test_ltm_sight", "x", "carry"),
)
