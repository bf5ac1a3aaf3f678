"""Faults of the outer optimisers; most were found in a source system."""

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

FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "opt-orthogonalised-before-momentum",
        "OPT-1",
        MUON,
        "test_optimisers:test_muon_averages_then_orthogonalises_then_scales",
        with_outputs(_orthogonalised_first),
        "source: orthogonalise first and average after",
    ),
    Fault(
        "opt-scaled-by-columns",
        "OPT-1",
        MUON,
        "test_optimisers:test_muon_averages_then_orthogonalises_then_scales",
        with_outputs(_wide_scale),
        MUON_DETAILS,
    ),
    Fault(
        "opt-without-nesterov",
        "OPT-1",
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
        "OPT-3",
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
        "OPT-5",
        PERP,
        "test_optimisers:test_perp_grad_is_orthogonal_to_the_weight",
        with_outputs(_row_by_row),
        MUON_DETAILS,
    ),
    Fault(
        "opt-never-rescaled",
        "OPT-6",
        PERP,
        "test_optimisers:test_rescaled_perp_grad_keeps_the_length",
        with_config(lambda _: {"rescale": False}),
        MUON_DETAILS,
    ),
    Fault(
        "opt-logit-without-root-of-dim",
        "OPT-7",
        CLIP,
        "test_optimisers:test_qk_clip_scales_both_projections_of_heads_above_the_threshold",
        with_outputs(_unclipped_dim),
        LOGIT,
    ),
    Fault(
        "opt-logit-of-the-future",
        "OPT-7",
        CLIP,
        "test_optimisers:test_qk_clip_scales_both_projections_of_heads_above_the_threshold",
        with_outputs(_counts_the_future),
        LOGIT,
    ),
    Fault(
        "opt-clipped-by-gamma",
        "OPT-8",
        CLIP,
        "test_optimisers:test_the_largest_logit_of_a_clipped_head_becomes_the_threshold",
        with_outputs(_whole_gamma),
        CLIPPED_TWICE,
    ),
    Fault(
        "opt-all-heads-clipped",
        "OPT-8",
        CLIP,
        "test_optimisers:test_the_largest_logit_of_a_clipped_head_becomes_the_threshold",
        with_outputs(_all_heads),
        CLIPPED_TWICE,
    ),
)
