"""Faults of the outer optimisers; most were found in a source system."""

from functools import partial
from typing import Final

import numpy as np

from spec_tests.chapters.newton_schulz.oracle import iteration
from spec_tests.chapters.optimisers.oracle import largest_logits, low_pass
from spec_tests.faults.fault import Arrays, Config, Fault, with_config, with_inputs, with_outputs
from spec_tests.port import Array, Op

CLIP: Final = Op.QK_CLIP
GROKFAST: Final = Op.GROKFAST
MUON: Final = Op.MUON_STEP
PERP: Final = Op.PERP_GRAD


def _orthogonalised_first(config: Config, x: Arrays, _: Arrays) -> Arrays:
    """Newton-Schulz of the gradient, momentum after: the step is no longer orthogonal."""
    gradient = _orthogonal(config, x["gradient"])
    return _muon(config, x, float(config["momentum"]) * x["buffer"] + gradient, gradient)


def _length_restored(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Multiplies the norm of the gradient back in."""
    step = outputs["weight"] - (1.0 - float(config["learning_rate"]) * float(config["weight_decay"])) * x["weight"]
    return {"weight": outputs["weight"] + step * (np.linalg.norm(x["gradient"]) - 1.0)}


def _orthogonal(config: Config, matrix: Array) -> Array:
    return iteration(matrix, str(config["coefficients"]), int(config["newton_schulz_steps"]))


def _muon(config: Config, x: Arrays, buffer: Array, gradient: Array) -> Arrays:
    rate, rows, columns = float(config["learning_rate"]), *x["weight"].shape
    step = rate * max(1.0, rows / columns) ** 0.5 * (gradient + float(config["momentum"]) * buffer)
    return {"buffer": buffer, "weight": (1.0 - rate * float(config["weight_decay"])) * x["weight"] - step}


def _wide_scale(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Scales by sqrt(columns / rows)."""
    kept = (1.0 - float(config["learning_rate"]) * float(config["weight_decay"])) * x["weight"]
    rows, columns = x["weight"].shape
    factor = max(1.0, columns / rows) ** 0.5 / max(1.0, rows / columns) ** 0.5
    return {"weight": kept + factor * (outputs["weight"] - kept)}


def _high_pass(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Adds strength (g - EMA(g)): the opposite of the method."""
    return {"filtered": x["gradients"] + float(config["strength"]) * (x["gradients"] - outputs["averages"])}


def _from_zero(config: Config, x: Arrays, _: Arrays) -> Arrays:
    started = np.concatenate([0.0 * x["gradients"][:1], x["gradients"]])
    averages, filtered = low_pass(started, float(config["alpha"]), float(config["strength"]))
    return {"averages": averages[1:], "filtered": filtered[1:]}


def _row_by_row(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    weight, gradient = x["weight"], x["gradient"]
    square = (weight * weight).sum(-1, keepdims=True)
    share = (weight * gradient).sum(-1, keepdims=True) / np.where(square > 0, square, 1.0)
    return {"filtered": gradient - share * weight}


def _unclipped_dim(config: Config, x: Arrays, _: Arrays) -> Arrays:
    """Forgets 1 / sqrt(dim) in the logit."""
    scale = np.sqrt(x["queries"].shape[-1])
    return _clipped(config, x, scale * largest_logits(x["queries"], x["keys"]), 0.5)


def _clipped(config: Config, x: Arrays, maximum: Array, power: float) -> Arrays:
    gamma = np.minimum(1.0, float(config["threshold"]) / maximum) ** power
    weights = {name: gamma[:, None, None] * x[name] for name in ("query_weight", "key_weight")}
    return {"maximum": maximum, **weights}


def _whole_gamma(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Multiplies both projections by gamma, not by its root: the logit falls to threshold^2 / maximum."""
    return _clipped(config, x, outputs["maximum"], 1.0)


def _all_heads(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    gamma = min(1.0, float(config["threshold"]) / float(outputs["maximum"].max())) ** 0.5
    return {name: gamma * x[name] for name in ("query_weight", "key_weight")}


def _counts_the_future(config: Config, x: Arrays, _: Arrays) -> Arrays:
    logits = np.einsum("bthd,bihd->hbti", x["queries"], x["keys"]) / np.sqrt(x["queries"].shape[-1])
    return _clipped(config, x, logits.reshape(len(logits), -1).max(-1), 0.5)


MUON_DETAILS = "misreading: Muon: momentum, scale, Nesterov; what is rescaled"
HIGH_PASS = "source: the averages of Grokfast subtracted: a high-pass filter"
LOGIT = "misreading: the logit of QK-clip: its scale and its sight"
CLIPPED_TWICE = "source: weights clipped by counting outputs, or twice"


def _decay_of_its_own(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Decay by wd and not by lr wd."""
    rate, decay = float(config["learning_rate"]), float(config["weight_decay"])
    return {"weight": outputs["weight"] + (rate - 1.0) * decay * x["weight"]}


def _replaced(config: Config, _: Arrays, outputs: Arrays) -> Arrays:
    return {"filtered": float(config["strength"]) * outputs["averages"]}


def _unit_presumed(_: Config, x: Arrays, __: Arrays) -> Arrays:
    return {"filtered": x["gradient"] - (x["weight"] * x["gradient"]).sum() * x["weight"]}


def _skipped_below(_: Config, x: Arrays, __: Arrays, *, bound: float) -> Arrays:
    return {"filtered": x["gradient"]} if np.linalg.norm(x["weight"]) < bound else {}


def _zero_divides(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {} if x["weight"].any() else {"filtered": np.nan * outputs["filtered"]}


def _gradient_itself(config: Config, x: Arrays, _: Arrays) -> Arrays:
    """Project after rescaling, and rescale again: nothing is left of the projection."""
    return {"filtered": x["gradient"]} if config["rescale"] else {}


def _queries_alone(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    clipped = _clipped(config, x, np.maximum(outputs["maximum"], 1e-30), 1.0)
    return {"query_weight": clipped["query_weight"], "key_weight": x["key_weight"]}


def _first_row(config: Config, x: Arrays, _: Arrays) -> Arrays:
    return _clipped(config, x, largest_logits(x["queries"][:1], x["keys"][:1]), 0.5)


def _raised(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    """Leave out the minimum with one: a head below the threshold is scaled up to it."""
    factor = np.sqrt(float(config["threshold"]) / np.maximum(outputs["maximum"], 1e-30))[:, None, None]
    return {name: factor * x[name] for name in ("query_weight", "key_weight")}


def _magnitude(config: Config, x: Arrays, _: Arrays) -> Arrays:
    past = np.maximum(largest_logits(x["queries"], x["keys"]), largest_logits(-x["queries"], x["keys"]))
    return _clipped(config, x, past, 0.5)


def _root_of_negative(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return _clipped(config, x, outputs["maximum"], 0.5)


def _cushioned(config: Config, x: Arrays, outputs: Arrays) -> Arrays:
    clipped = _clipped(config, x, np.maximum(outputs["maximum"], 0.0) + 1e-6, 0.5)
    return {**clipped, "maximum": outputs["maximum"]}


MUON_STEP = "test_optimisers:test_muon_averages_then_orthogonalises_then_scales"
SLOW = "test_optimisers:test_grokfast_adds_the_slow_part"
ORTHOGONAL = "test_optimisers:test_perp_grad_is_orthogonal_to_the_weight"
RESCALED = "test_optimisers:test_rescaled_perp_grad_keeps_the_length"
CLIPPED = "test_optimisers:test_qk_clip_scales_both_projections_of_heads_above_the_threshold"
SHORT = "test_optimisers_at_the_edges:test_a_short_weight_is_projected_out_like_a_long_one"
NEGATIVE = "test_optimisers_at_the_edges:test_heads_of_negative_and_of_small_logits_are_clipped_by_the_rule"

FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "opt-orthogonalised-before-momentum",
        "OPT-1a",
        MUON,
        "test_optimisers:test_muon_averages_then_orthogonalises_then_scales",
        with_outputs(_orthogonalised_first),
        "source: orthogonalise first and average after",
    ),
    Fault(
        "opt-scaled-by-columns",
        "OPT-1d",
        MUON,
        "test_optimisers:test_muon_averages_then_orthogonalises_then_scales",
        with_outputs(_wide_scale),
        MUON_DETAILS,
    ),
    Fault(
        "opt-without-nesterov",
        "OPT-1b",
        MUON,
        "test_optimisers:test_muon_averages_then_orthogonalises_then_scales",
        with_inputs(lambda config, x: {"gradient": (1 - float(config["momentum"])) * x["gradient"]}),
        MUON_DETAILS,
    ),
    Fault(
        "opt-length-restored",
        "OPT-2",
        MUON,
        "test_optimisers:test_the_size_of_the_gradient_does_not_matter_to_muon",
        with_outputs(_length_restored),
        "source: the length of the matrix comes back after Newton-Schulz",
    ),
    Fault(
        "opt-high-pass",
        "OPT-3b",
        GROKFAST,
        "test_optimisers:test_grokfast_adds_the_slow_part",
        with_outputs(_high_pass),
        HIGH_PASS,
    ),
    Fault(
        "opt-high-pass-amplifies-noise",
        "OPT-4",
        GROKFAST,
        "test_optimisers:test_a_constant_gradient_is_amplified_from_the_first_step_and_an_alternating_one_hardly",
        with_outputs(_high_pass),
        HIGH_PASS,
    ),
    Fault(
        "opt-average-from-zero",
        "OPT-4",
        GROKFAST,
        "test_optimisers:test_a_constant_gradient_is_amplified_from_the_first_step_and_an_alternating_one_hardly",
        with_outputs(_from_zero),
        "misreading: where Grokfast's average begins",
    ),
    Fault(
        "opt-perpendicular-row-by-row",
        "OPT-5b",
        PERP,
        "test_optimisers:test_perp_grad_is_orthogonal_to_the_weight",
        with_outputs(_row_by_row),
        MUON_DETAILS,
    ),
    Fault(
        "opt-never-rescaled",
        "OPT-6a",
        PERP,
        "test_optimisers:test_rescaled_perp_grad_keeps_the_length",
        with_config(lambda _: {"rescale": False}),
        MUON_DETAILS,
    ),
    Fault(
        "opt-logit-without-root-of-dim",
        "OPT-7b",
        CLIP,
        "test_optimisers:test_qk_clip_scales_both_projections_of_heads_above_the_threshold",
        with_outputs(_unclipped_dim),
        LOGIT,
    ),
    Fault(
        "opt-logit-of-the-future",
        "OPT-7d",
        CLIP,
        "test_optimisers:test_qk_clip_scales_both_projections_of_heads_above_the_threshold",
        with_outputs(_counts_the_future),
        LOGIT,
    ),
    Fault(
        "opt-clipped-by-gamma",
        "OPT-8a",
        CLIP,
        "test_optimisers:test_the_largest_logit_of_a_clipped_head_becomes_the_threshold",
        with_outputs(_whole_gamma),
        CLIPPED_TWICE,
    ),
    Fault(
        "opt-all-heads-clipped",
        "OPT-8b",
        CLIP,
        "test_optimisers:test_the_largest_logit_of_a_clipped_head_becomes_the_threshold",
        with_outputs(_all_heads),
        CLIPPED_TWICE,
    ),
    Fault("opt-decay-without-the-rate", "OPT-1c", MUON, MUON_STEP, with_outputs(_decay_of_its_own), MUON_DETAILS),
    Fault("opt-gradient-replaced", "OPT-3a", GROKFAST, SLOW, with_outputs(_replaced), HIGH_PASS),
    Fault(
        "opt-average-of-the-new",
        "OPT-3b",
        GROKFAST,
        SLOW,
        with_config(lambda c: {"alpha": 1.0 - float(c["alpha"])}),
        HIGH_PASS,
    ),
    Fault("opt-unit-weight-presumed", "OPT-5a", PERP, ORTHOGONAL, with_outputs(_unit_presumed), MUON_DETAILS),
    Fault(
        "opt-short-weights-skipped",
        "OPT-5c",
        PERP,
        SHORT,
        with_outputs(partial(_skipped_below, bound=1e-5)),
        "source: a weight of norm below 1e-5 is not projected out",
    ),
    Fault(
        "opt-zero-weight-divides",
        "OPT-5d",
        PERP,
        ORTHOGONAL,
        with_outputs(_zero_divides),
        "porting: a division by zero, or its derivative",
    ),
    Fault("opt-rescaled-in-vain", "OPT-6b", PERP, RESCALED, with_outputs(_gradient_itself), MUON_DETAILS),
    Fault("opt-queries-clipped-alone", "OPT-7a", CLIP, CLIPPED, with_outputs(_queries_alone), CLIPPED_TWICE),
    Fault("opt-logit-of-the-first-row", "OPT-7c", CLIP, NEGATIVE, with_outputs(_first_row), LOGIT),
    Fault("opt-heads-at-rest-raised", "OPT-7e", CLIP, CLIPPED, with_outputs(_raised), CLIPPED_TWICE),
    Fault(
        "opt-largest-magnitude",
        "OPT-7f",
        CLIP,
        NEGATIVE,
        with_outputs(_magnitude),
        "source: the largest absolute logit, where negative ones need no clip",
    ),
    Fault(
        "opt-root-of-a-negative",
        "OPT-7f",
        CLIP,
        NEGATIVE,
        with_outputs(_root_of_negative),
        "source: a negative maximum gives a root of a negative number",
    ),
    Fault(
        "opt-cushion-under-the-threshold",
        "OPT-7b",
        CLIP,
        NEGATIVE,
        with_outputs(_cushioned),
        "source: 1e-6 added to the largest logit",
    ),
)
