"""Faults of the metrics of circularity and of the outer optimisers; most were found in a source system."""

import numpy as np

from spec_tests.faults.fault import Arrays, Config, Fault, with_config, with_inputs, with_outputs
from spec_tests.oracle.metrics import order
from spec_tests.oracle.newton_schulz import iteration
from spec_tests.oracle.optimisers import largest_logits, low_pass
from spec_tests.port import Array, Op

FOURIER, FIT = Op.FOURIER_CONCENTRATION, Op.CIRCULAR_FIT
MUON, GROKFAST, PERP, CLIP = Op.MUON_STEP, Op.GROKFAST, Op.PERP_GRAD, Op.QK_CLIP


def _mirror_excluded(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Compares one half of the mirrored spectrum with all of it: a perfect circle scores a half."""
    return {"concentration": 0.5 * outputs["concentration"]}


def _lowest_frequencies(config: Config, x: Arrays, _: Arrays) -> Arrays:
    """Counts the first frequencies, not the strongest."""
    energy = (np.abs(np.fft.rfft(x["embedding"], axis=0)) ** 2).sum(-1)[1:]
    return {"concentration": _share(energy[: int(config["top"])], energy)}


def _mean_counted(config: Config, x: Arrays, _: Arrays) -> Arrays:
    energy = (np.abs(np.fft.rfft(x["embedding"], axis=0)) ** 2).sum(-1)
    return {"concentration": _share(np.sort(energy[1:])[::-1][: int(config["top"])], energy)}


def _share(part: Array, energy: Array) -> Array:
    return np.asarray(part.sum() / energy.sum() if energy.any() else 0.0)


def _centre(z: Array) -> tuple[Array, float]:
    design = np.concatenate([2.0 * z, np.ones((len(z), 1))], axis=1)
    solution = np.linalg.lstsq(design, (z**2).sum(1), rcond=None)[0]
    return solution[:2], float(np.sqrt(solution[2] + (solution[:2] ** 2).sum()))


def _plane(embedding: Array) -> Array:
    centred = embedding.astype(np.float64) - embedding.mean(0)
    return np.asarray(centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T)


def _spread_of_residuals(_: Config, x: Arrays, __: Arrays) -> Arrays:
    """Takes the standard deviation of the absolute residuals: 0.74 for Gaussian noise."""
    z = _plane(x["embedding"])
    centre, radius = _centre(z)
    residual = np.abs(np.hypot(*(z - centre).T) - radius)
    return {"fit": np.asarray(max(0.0, 1.0 - residual.std() / radius))}


def _first_columns(_: Config, x: Arrays, __: Arrays) -> Arrays:
    """Takes two columns for the two main components."""
    z = x["embedding"][:, :2] - x["embedding"][:, :2].mean(0)
    centre, _radius = _centre(z)
    return {"order": np.asarray(order(np.arctan2(*(z - centre).T[::-1])))}


def _angles_unpermuted(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Permutes the points and asks how round they are: the null is the statistic itself."""
    return {"null": np.full_like(outputs["null"], outputs["order"])}


def _not_centred(_: Config, x: Arrays, __: Arrays) -> Arrays:
    z = x["embedding"].astype(np.float64)
    z = z @ np.linalg.svd(z, full_matrices=False)[2][:2].T
    return {"order": np.asarray(order(np.arctan2(z[:, 1], z[:, 0])))}


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


METRICS = (
    Fault(
        "grok-mirror-excluded",
        "GROK-2",
        FOURIER,
        "test_metrics:test_a_circle_at_any_frequency_scores_one",
        with_outputs(_mirror_excluded),
    ),
    Fault(
        "grok-lowest-frequencies",
        "GROK-1",
        FOURIER,
        "test_metrics:test_concentration_is_the_share_of_the_strongest_frequencies",
        with_outputs(_lowest_frequencies),
    ),
    Fault(
        "grok-mean-counted",
        "GROK-3",
        FOURIER,
        "test_metrics:test_an_impulse_has_a_flat_spectrum_and_a_constant_none",
        with_outputs(_mean_counted),
    ),
    Fault(
        "grok-spread-of-residuals",
        "GROK-4",
        FIT,
        "test_metrics:test_the_fit_is_that_of_the_least_squares_circle",
        with_outputs(_spread_of_residuals),
    ),
    Fault(
        "grok-first-two-columns",
        "GROK-5",
        FIT,
        "test_metrics:test_the_order_is_the_strongest_frequency_of_the_angles",
        with_outputs(_first_columns),
    ),
    Fault(
        "grok-null-is-the-statistic",
        "GROK-6",
        FIT,
        "test_metrics:test_the_order_of_a_circle_exceeds_that_of_its_permutations",
        with_outputs(_angles_unpermuted),
    ),
    Fault(
        "grok-not-centred",
        "GROK-7",
        FIT,
        "test_metrics:test_scale_shift_and_rotation_change_nothing",
        with_outputs(_not_centred),
    ),
)

MUONS = (
    Fault(
        "opt-orthogonalised-before-momentum",
        "OPT-1",
        MUON,
        "test_optimisers:test_muon_averages_then_orthogonalises_then_scales",
        with_outputs(_orthogonalised_first),
    ),
    Fault(
        "opt-scaled-by-columns",
        "OPT-1",
        MUON,
        "test_optimisers:test_muon_averages_then_orthogonalises_then_scales",
        with_outputs(_wide_scale),
    ),
    Fault(
        "opt-without-nesterov",
        "OPT-1",
        MUON,
        "test_optimisers:test_muon_averages_then_orthogonalises_then_scales",
        with_inputs(lambda config, x: {"gradient": (1 - float(config["momentum"])) * x["gradient"]}),
    ),
    Fault(
        "opt-length-restored",
        "OPT-2",
        MUON,
        "test_optimisers:test_the_size_of_the_gradient_does_not_matter_to_muon",
        with_outputs(_length_restored),
    ),
)

FILTERS = (
    Fault(
        "opt-high-pass",
        "OPT-3",
        GROKFAST,
        "test_optimisers:test_grokfast_adds_the_slow_part",
        with_outputs(_high_pass),
    ),
    Fault(
        "opt-high-pass-amplifies-noise",
        "OPT-4",
        GROKFAST,
        "test_optimisers:test_a_constant_gradient_is_amplified_from_the_first_step_and_an_alternating_one_hardly",
        with_outputs(_high_pass),
    ),
    Fault(
        "opt-average-from-zero",
        "OPT-4",
        GROKFAST,
        "test_optimisers:test_a_constant_gradient_is_amplified_from_the_first_step_and_an_alternating_one_hardly",
        with_outputs(_from_zero),
    ),
    Fault(
        "opt-perpendicular-row-by-row",
        "OPT-5",
        PERP,
        "test_optimisers:test_perp_grad_is_orthogonal_to_the_weight",
        with_outputs(_row_by_row),
    ),
    Fault(
        "opt-never-rescaled",
        "OPT-6",
        PERP,
        "test_optimisers:test_rescaled_perp_grad_keeps_the_length",
        with_config(lambda _: {"rescale": False}),
    ),
)

CLIPS = (
    Fault(
        "opt-logit-without-root-of-dim",
        "OPT-7",
        CLIP,
        "test_optimisers:test_qk_clip_scales_both_projections_of_heads_above_the_threshold",
        with_outputs(_unclipped_dim),
    ),
    Fault(
        "opt-logit-of-the-future",
        "OPT-7",
        CLIP,
        "test_optimisers:test_qk_clip_scales_both_projections_of_heads_above_the_threshold",
        with_outputs(_counts_the_future),
    ),
    Fault(
        "opt-clipped-by-gamma",
        "OPT-8",
        CLIP,
        "test_optimisers:test_the_largest_logit_of_a_clipped_head_becomes_the_threshold",
        with_outputs(_whole_gamma),
    ),
    Fault(
        "opt-all-heads-clipped",
        "OPT-8",
        CLIP,
        "test_optimisers:test_the_largest_logit_of_a_clipped_head_becomes_the_threshold",
        with_outputs(_all_heads),
    ),
)

TRAINING = (*METRICS, *MUONS, *FILTERS, *CLIPS)
