"""Faults of M3 mixing."""

from typing import Final

import numpy as np

from spec_tests.faults.fault import Arrays, Config, Fault, gradients_lost, with_config, with_inputs, with_outputs
from spec_tests.port import Array, Op


def _swapped(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    return {"mixed": inputs["previous"] + inputs["initial"] - outputs["mixed"]}


def _previous_keeps_gradient(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    if "grad.previous" not in outputs:
        return {}
    return {"grad.previous": outputs["mixing"][:, None, None] * inputs["cotangent.mixed"]}


def _always_learned(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    if "grad.alpha_logit" not in outputs:
        return {}
    a = 1 / (1 + np.exp(-inputs["alpha_logit"]))
    difference = (inputs["previous"] - inputs["initial"]) * inputs["cotangent.mixed"]
    return {"grad.alpha_logit": difference.sum() * a * (1 - a)}


M3: Final = Op.M3_MIX
M3_RAMP = "test_m3:test_the_mixing_ramps_by_crossings_and_then_follows_the_logit"


def _mixed_by(mixing: Array, inputs: Arrays) -> Arrays:
    a = mixing[:, None, None]
    return {"mixing": mixing, "mixed": a * inputs["previous"] + (1 - a) * inputs["initial"]}


def _logit_as_weight(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    past = inputs["crossings"] >= int(config["warmup_crossings"])
    return _mixed_by(np.where(past, inputs["alpha_logit"], outputs["mixing"]), inputs)


def _ramp_from_zero(config: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    warmup = int(config["warmup_crossings"])
    in_warmup = inputs["crossings"] < warmup
    return _mixed_by(np.where(in_warmup, 0.5 * inputs["crossings"] / max(1, warmup), outputs["mixing"]), inputs)


RAMP = "misreading: the ramp of the mixing: its ends, its units, its logit"
CANNOT_LEARN = "source: the mixing weight cannot learn"


def _mean_over_rows(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    rows = max(1, len(inputs["previous"]))
    return {"grad.initial": outputs["grad.initial"] / rows} if "grad.initial" in outputs else {}


FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "m3-no-warmup",
        "M3-1a",
        Op.M3_MIX,
        "test_m3:test_the_mixing_ramps_by_crossings_and_then_follows_the_logit",
        with_config(lambda _: {"warmup_crossings": 0}),
        RAMP,
    ),
    Fault(
        "m3-swapped",
        "M3-2",
        Op.M3_MIX,
        "test_m3:test_the_new_state_is_the_convex_mixture",
        with_outputs(_swapped),
        RAMP,
    ),
    Fault(
        "m3-previous-not-stopped",
        "M3-3a",
        Op.M3_MIX,
        "test_m3:test_no_gradient_reaches_the_previous_state",
        with_outputs(_previous_keeps_gradient),
        RAMP,
    ),
    Fault(
        "m3-logit-learns-in-warmup",
        "M3-4b",
        Op.M3_MIX,
        "test_m3:test_the_logit_learns_from_rows_past_the_warmup_only",
        with_outputs(_always_learned),
        RAMP,
    ),
    Fault(
        "m3-state-averaged-over-the-batch",
        "M3-5",
        Op.M3_MIX,
        "test_m3:test_rows_are_independent",
        with_inputs(lambda _, inputs: {"previous": 0.0 * inputs["previous"] + inputs["previous"].mean(0)}),
        "source: state kept as the mean over the batch",
    ),
    Fault(
        "m3-crossing-too-many",
        "M3-1b",
        M3,
        M3_RAMP,
        with_inputs(lambda _, inputs: {"crossings": inputs["crossings"] + 1}),
        RAMP,
    ),
    Fault("m3-logit-without-sigmoid", "M3-1b", M3, M3_RAMP, with_outputs(_logit_as_weight), RAMP),
    Fault("m3-ramp-from-zero", "M3-1a", M3, M3_RAMP, with_outputs(_ramp_from_zero), RAMP),
    Fault(
        "m3-initial-detached",
        "M3-3b",
        M3,
        "test_m3:test_no_gradient_reaches_the_previous_state",
        gradients_lost("initial"),
        CANNOT_LEARN,
    ),
    Fault(
        "m3-logit-never-learns",
        "M3-4a",
        M3,
        "test_m3:test_the_logit_learns_from_rows_past_the_warmup_only",
        gradients_lost("alpha_logit"),
        CANNOT_LEARN,
    ),
    Fault(
        "m3-one-row-speaks-for-all",
        "M3-5",
        M3,
        "test_m3:test_rows_are_independent",
        with_inputs(lambda _, inputs: {"crossings": np.full_like(inputs["crossings"], inputs["crossings"].max())}),
        "source: one row's boundary resets all rows, by any()",
    ),
    Fault(
        "m3-warmup-of-at-least-one",
        "M3-1c",
        M3,
        M3_RAMP,
        with_config(lambda c: {"warmup_crossings": max(1, int(c["warmup_crossings"]))}),
        RAMP,
    ),
    Fault(
        "m3-crossings-of-the-batch",
        "M3-1d",
        M3,
        M3_RAMP,
        with_inputs(lambda _, x: {"crossings": np.full_like(x["crossings"], x["crossings"].max(initial=0))}),
        "porting: one row or head for all",
    ),
    Fault(
        "m3-initial-learns-from-the-mean",
        "M3-3c",
        M3,
        "test_m3:test_no_gradient_reaches_the_previous_state",
        with_outputs(_mean_over_rows),
        CANNOT_LEARN,
    ),
)
