"""Faults of the operations around the memory: StableMax, running mean, gate, halting."""

import numpy as np

from spec_tests.driver import round_to_bf16
from spec_tests.faults.fault import (
    Arrays,
    Config,
    Fault,
    gradients_lost,
    with_config,
    with_inputs,
    with_outputs,
)
from spec_tests.faults.sequence import averaged
from spec_tests.oracle.around import gate, running_mean, stablemax
from spec_tests.port import Array, Op

STAB, LTM, MAG, ACT = Op.STABLEMAX, Op.LTM_SCAN, Op.MAG_GATE, Op.ACT_HALT


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


def _clamped(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """The gate is max(g, floor): no gradient below the floor."""
    share, _ = gate(str(config["kind"]), x["attention"], x["memory"], x["logits"], 0.0)
    floor = float(config["floor"])
    changed: dict[str, Array] = {"gate": np.maximum(share, floor)}
    if "grad.logits" in outputs:
        changed["grad.logits"] = np.where(share > floor, outputs["grad.logits"], 0.0)
    return changed


def _memory_by_attention(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """The gate squashes the memory, not the attention."""
    return {"joined": x["attention"] / (1.0 + np.exp(-x["memory"]))}


def _shares_swapped(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    if config["kind"] == "source":
        return {}
    return {"joined": x["attention"] + x["memory"] - outputs["joined"]}


def _gate_in_bf16(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    return {"gate": round_to_bf16(outputs["gate"])}


def _neighbour(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {"joined": outputs["joined"] + 0.2 * np.roll(x["memory"], -1, axis=1)}


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


STABLEMAXES = (
    Fault(
        "stab-softmax",
        "STAB-1",
        STAB,
        "test_stablemax:test_probabilities_are_proportional_to_the_two_branches",
        with_outputs(_softmax),
    ),
    Fault("stab-floor", "STAB-2", STAB, "test_stablemax:test_a_small_logit_keeps_its_share", with_outputs(_floored)),
    Fault(
        "stab-overflow",
        "STAB-3",
        STAB,
        "test_stablemax:test_huge_logits_give_finite_probabilities_that_sum_to_one",
        with_inputs(lambda _, x: {"x": np.where(np.abs(x["x"]) > 1e29, np.inf, x["x"])}),
    ),
    Fault(
        "stab-gradient-of-one-branch",
        "STAB-4",
        STAB,
        "test_stablemax:test_the_gradient_is_that_of_the_formula_at_zero_and_one_too",
        with_outputs(_one_branch_gradient),
    ),
    Fault(
        "stab-normalised-over-the-batch",
        "STAB-5",
        STAB,
        "test_stablemax:test_each_vector_stands_alone",
        with_outputs(_over_the_batch),
    ),
)

MEANS = (
    Fault(
        "ltm-sum",
        "LTM-1",
        LTM,
        "test_ltm:test_the_mean_moves_a_share_of_the_way_to_each_token",
        with_outputs(_sum),
    ),
    Fault(
        "ltm-not-reset",
        "LTM-2",
        LTM,
        "test_ltm:test_a_document_starts_from_zero_whatever_came_before",
        with_inputs(lambda _, x: {"position": x["position"] + 1}),
    ),
    Fault(
        "ltm-carry-forgotten",
        "LTM-3",
        LTM,
        "test_ltm:test_any_split_gives_the_same_outputs",
        with_inputs(lambda _, x: {"carry": 0.0 * x["carry"]}),
    ),
    Fault("ltm-carry-averaged", "LTM-4", LTM, "test_ltm:test_rows_are_independent", averaged("carry")),
    Fault("ltm-mean-of-all", "LTM-4", LTM, "test_ltm:test_the_future_does_not_count", with_outputs(_whole_mean)),
    Fault(
        "ltm-detached-at-every-step",
        "LTM-5",
        LTM,
        "test_ltm:test_the_gradient_flows_through_every_step",
        with_outputs(_detached),
    ),
)

GATES = (
    Fault(
        "mag-memory-squashed",
        "MAG-1",
        MAG,
        "test_mag_gate:test_source_scales_the_memory_by_the_squashed_attention",
        with_outputs(_memory_by_attention),
    ),
    Fault(
        "mag-shares-swapped",
        "MAG-2",
        MAG,
        "test_mag_gate:test_convex_gives_attention_the_share_of_the_gate",
        with_outputs(_shares_swapped),
    ),
    Fault(
        "mag-floor-ignored",
        "MAG-2",
        MAG,
        "test_mag_gate:test_convex_gives_attention_the_share_of_the_gate",
        with_config(lambda _: {"floor": 0.0}),
    ),
    Fault(
        "mag-floor-clamped",
        "MAG-3",
        MAG,
        "test_mag_gate:test_a_gate_near_its_floor_still_has_a_gradient",
        with_outputs(_clamped),
    ),
    Fault(
        "mag-gate-in-bf16",
        "MAG-4",
        MAG,
        "test_mag_gate:test_the_gate_keeps_single_precision",
        with_outputs(_gate_in_bf16),
    ),
    Fault(
        "mag-logits-frozen",
        "MAG-5",
        MAG,
        "test_mag_gate:test_the_gradients_are_those_of_the_formula",
        gradients_lost("logits"),
    ),
    Fault("mag-next-token", "MAG-6", MAG, "test_mag_gate:test_tokens_and_rows_stand_alone", with_outputs(_neighbour)),
)

HALTS = (
    Fault(
        "act-probabilities-not-summed",
        "ACT-1",
        ACT,
        "test_act:test_a_row_halts_where_its_probabilities_add_up_to_the_threshold",
        with_outputs(_not_summed),
    ),
    Fault(
        "act-threshold-inverted",
        "ACT-2",
        ACT,
        "test_act:test_a_higher_threshold_never_means_fewer_steps",
        with_outputs(_inverted),
    ),
    Fault(
        "act-without-remainder",
        "ACT-3",
        ACT,
        "test_act:test_weights_are_probabilities_then_the_remainder",
        with_outputs(_no_remainder),
    ),
    Fault(
        "act-cost-is-the-step-count",
        "ACT-4",
        ACT,
        "test_act:test_the_cost_counts_steps_and_remainder_and_can_be_learned",
        with_outputs(_cost_counts_steps),
    ),
    Fault(
        "act-cost-has-no-gradient",
        "ACT-4",
        ACT,
        "test_act:test_the_cost_counts_steps_and_remainder_and_can_be_learned",
        gradients_lost("probabilities"),
    ),
    Fault(
        "act-weights-have-no-gradient",
        "ACT-5",
        ACT,
        "test_act:test_the_gradient_of_the_weights_reaches_the_probabilities",
        gradients_lost("probabilities"),
    ),
    Fault("act-rows-halt-together", "ACT-6", ACT, "test_act:test_rows_are_independent", with_outputs(_halts_together)),
)

AROUND = (*STABLEMAXES, *MEANS, *GATES, *HALTS)
